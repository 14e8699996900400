# ViT-Base, depth, full fine-tuning on NYU Depth V2.
# Weights: --cfg-options checkpoint=FILE, the result of vit_imagenet.py (none are published).
_base_ = [
    '_base_/models/vit_depth.py', '_base_/datasets/nyu.py', '_base_/schedules/depth_25k.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(data_preprocessor=dict(size=_base_.crop_size))
train_dataloader = dict(batch_size=_base_.auto_scale_lr.base_batch_size // 8)  # on 8 GPUs
