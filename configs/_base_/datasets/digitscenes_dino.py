# DigitScenes in six crops for DINO: two of 24 px, which the teacher sees too, and four of 12 px.
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
