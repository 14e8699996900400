# ImageNet-1K for k-NN, as DINO evaluates: the training set without augmentation is the memory, and images have
# ImageNet's normalisation, whatever that of the pretraining was.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
_loader = dict(batch_size=128, num_workers=8, sampler=dict(type='DefaultSampler', shuffle=False))
_imagenet = dict(type='ImageNet', data_root='data/imagenet', pipeline=test_pipeline)
test_dataloader = dict(**_loader, dataset=dict(**_imagenet, split='val'))
test_evaluator = dict(type='KNNAccuracy')
test_cfg = dict(type='KNNLoop', memory_dataloader=dict(**_loader, dataset=dict(**_imagenet, split='train')))
