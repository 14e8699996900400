# ViT-Base, SETR-PUP, full fine-tuning on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of vit_imagenet.py (none are published).
_base_ = [
    '_base_/models/vit_setr.py', '_base_/datasets/ade20k.py', '_base_/schedules/sgd_160k.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=[dict(head, num_classes=_base_.num_classes) for head in _base_.model.auxiliary_head])
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.)}))  # of all four heads
train_dataloader = dict(batch_size=_base_.auto_scale_lr.base_batch_size // 8)  # on 8 GPUs
default_hooks = dict(checkpoint=dict(interval=_base_.train_cfg.val_interval))
