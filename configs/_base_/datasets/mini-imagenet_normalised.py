# Mini-ImageNet as in mini-imagenet.py, but normalised by ImageNet's mean and spread: RoPE and Swin.
_base_ = './mini-imagenet.py'
data_preprocessor = _base_.normalised.data_preprocessor
train_pipeline = _base_.normalised.train_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
