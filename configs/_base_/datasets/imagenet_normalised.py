# ImageNet-1K as in imagenet.py, but normalised by ImageNet's mean and spread: RoPE and Swin.
_base_ = './imagenet.py'
_mean = [123.675, 116.28, 103.53]
_std = [58.395, 57.12, 57.375]
data_preprocessor = dict(mean=_mean, std=_std)
train_pipeline = [
    dict(step, fill_color=_mean, fill_std=_std) if step['type'] == 'RandomErasing' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
