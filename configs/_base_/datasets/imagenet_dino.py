# ImageNet-1K in ten crops: two of 224 px, which the teacher sees too, and eight of 96 px.
_jitter = [
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandomApply',
        prob=0.8,
        transforms=[dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)]),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
]
_crop = dict(type='RandomResizedCrop', backend='pillow', interpolation='bicubic')
_blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
_global = dict(**_crop, scale=224, crop_ratio_range=(0.4, 1.0))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiView',
        num_views=[1, 1, 8],
        transforms=[
            [_global, *_jitter, dict(**_blur, prob=1.0)],
            [_global, *_jitter, dict(**_blur, prob=0.1), dict(type='Solarize', thr=128, prob=0.2)],
            [dict(**_crop, scale=96, crop_ratio_range=(0.05, 0.4)), *_jitter, dict(**_blur, prob=0.5)],
        ]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=10,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='ImageNet', data_root='data/imagenet', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
