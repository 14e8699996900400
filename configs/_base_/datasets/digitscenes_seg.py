# DigitScenes for segmentation: one to three handwritten digits on a 36 x 36 crop, 11 classes. No augmentation.
_base_ = './segmentation.py'
num_classes = 11
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
_resized = [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in _base_.tta_ratios]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[_resized, *_base_.tta_after_resize]),
]

# Images are tiny: on a CPU, handing them between processes costs more than loading them.
_loader = dict(batch_size=32, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **_loader, dataset=dict(type='DigitScenesSegmentation', split='train', pipeline=test_pipeline))
val_dataloader = dict(**_loader, dataset=dict(type='DigitScenesSegmentation', split='val', pipeline=test_pipeline))
test_dataloader = dict(**_loader, dataset=dict(type='DigitScenesSegmentation', split='test', pipeline=test_pipeline))
