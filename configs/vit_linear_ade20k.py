# ViT-Base, frozen, one-layer head on ADE20K: the paper's protocol. Batch 32 on 8 GPUs.
# Weights: --cfg-options checkpoint=FILE, the result of vit_imagenet.py (none are published).
_base_ = [
    '_base_/models/vit_linear.py', '_base_/datasets/ade20k.py', '_base_/schedules/linear_20k.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(data_preprocessor=dict(size=_base_.crop_size))
train_dataloader = dict(batch_size=4)
