# ViT-Base, Segmenter, full fine-tuning on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of vit_imagenet.py (none are published).
_base_ = [
    '_base_/models/vit_segmenter.py', '_base_/datasets/ade20k.py', '_base_/schedules/sgd_160k.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(data_preprocessor=dict(size=_base_.crop_size), decode_head=dict(num_classes=_base_.num_classes))
auto_scale_lr = dict(base_batch_size=8)
train_dataloader = dict(batch_size=1)  # on 8 GPUs
default_hooks = dict(checkpoint=dict(interval=_base_.train_cfg.val_interval))
