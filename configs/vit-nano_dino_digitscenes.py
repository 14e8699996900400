# The demo's ViT, pretrained by DINO on DigitScenes in minutes: a miniature of vit-small_dino_imagenet.py.
_base_ = ['_base_/models/dino.py', '_base_/models/nano.py', '_base_/runtime_mmpretrain.py']
_epochs = 10
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=_base_.nano,
    head=dict(in_channels=64, num_prototypes=256, hidden_channels=128, bottleneck_channels=64))
_crop = dict(type='RandomResizedCrop', backend='pillow', interpolation='bicubic')
_jitter = [dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiView',
        num_views=[2, 4],
        transforms=[[dict(**_crop, scale=24, crop_ratio_range=(0.4, 1.0)), *_jitter],
                    [dict(**_crop, scale=12, crop_ratio_range=(0.15, 0.4)), *_jitter]]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='DigitScenesClassification', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='PerParameterClipAdamW', lr=1e-3, weight_decay=0.04, max_norm=3.0),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-8, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0, end=_epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=_epochs)
auto_scale_lr = dict(base_batch_size=64)
