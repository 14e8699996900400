# Mini-ImageNet: 100 classes of ImageNet-1K, a folder each, in data/mini-imagenet/train and data/mini-imagenet/val.
# Both hold the same 100 folders, and the images of a class are divided between them: the few-shot splits, which divide
# the classes, do not fit. The paper does not state how it divides the images. Augmentation is ImageNet's.
_base_ = './imagenet.py'
data_preprocessor = dict(num_classes=100)
_folders = dict(_delete_=True, type='CustomDataset', data_root='data/mini-imagenet')
train_dataloader = dict(dataset=dict(data_prefix='train', pipeline=_base_.train_pipeline, **_folders))
val_dataloader = dict(dataset=dict(data_prefix='val', pipeline=_base_.test_pipeline, **_folders))
test_dataloader = dict(dataset=dict(val_dataloader['dataset']))  # a copy: a merge takes `_delete_` out of its dict
