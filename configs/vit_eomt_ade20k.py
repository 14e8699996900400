# ViT-Base, EoMT (queries in its last three blocks), full fine-tuning on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of vit_imagenet.py (none are published).
_base_ = [
    '_base_/models/vit_eomt.py', '_base_/datasets/ade20k_eomt.py', '_base_/schedules/eomt_39k.py',
    '_base_/runtime_eomt.py'
]
checkpoint = None
model = dict(data_preprocessor=dict(size=_base_.crop_size), decode_head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(batch_size=_base_.auto_scale_lr.base_batch_size // 8)  # on 8 GPUs
default_hooks = dict(checkpoint=dict(interval=_base_.train_cfg.val_interval))
