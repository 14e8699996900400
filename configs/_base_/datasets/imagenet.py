# ImageNet-1K at 224 px with the augmentation of the paper's pretraining recipe.
_mean = [127.5, 127.5, 127.5]
_std = [127.5, 127.5, 127.5]
data_preprocessor = dict(type='ClsDataPreprocessor', num_classes=1000, mean=_mean, std=_std, to_rgb=True)
_crop = dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0), backend='pillow')

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # Random interpolation, one draw an image.
    dict(
        type='RandomChoice',
        transforms=[[dict(**_crop, interpolation='bilinear')], [dict(**_crop, interpolation='bicubic')]]),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[128, 128, 128], interpolation='bicubic')),
    # Applied before normalisation, so noise of the data's mean and spread is normal noise after it, but for what lies
    # beyond black and white: mmpretrain cuts it off there.
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=_mean,
        fill_std=_std),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # 224 / 0.9 = 248: a crop of 0.9 of the shorter side.
    dict(type='ResizeEdge', scale=248, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

# For imagenet_normalised.py and its twin: the mean and spread of ImageNet, also for what random erasing draws.
_imagenet_mean = [123.675, 116.28, 103.53]
_imagenet_std = [58.395, 57.12, 57.375]
normalised = dict(
    data_preprocessor=dict(mean=_imagenet_mean, std=_imagenet_std),
    train_pipeline=[
        dict(step, fill_color=_imagenet_mean, fill_std=_imagenet_std) if step['type'] == 'RandomErasing' else step
        for step in train_pipeline
    ])

# Mixup or CutMix, one of them for every batch, with equal chance; for the classifier's `train_cfg`.
batch_augments = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='ImageNet', data_root='data/imagenet', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='ImageNet', data_root='data/imagenet', split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
