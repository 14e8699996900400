# DigitScenes for classification: one handwritten digit on a 24 x 24 crop of a photograph. No augmentation.
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=10, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

# Images are tiny: on a CPU, handing them between processes costs more than loading them.
_loader = dict(num_workers=0, persistent_workers=False)
_evaluation = dict(batch_size=500, sampler=dict(type='DefaultSampler', shuffle=False), **_loader)
train_dataloader = dict(
    batch_size=64,
    dataset=dict(type='DigitScenesClassification', split='train', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    **_loader)
val_dataloader = dict(
    dataset=dict(type='DigitScenesClassification', split='val', pipeline=test_pipeline), **_evaluation)
test_dataloader = dict(
    dataset=dict(type='DigitScenesClassification', split='test', pipeline=test_pipeline), **_evaluation)
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
