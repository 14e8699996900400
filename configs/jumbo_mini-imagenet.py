# Jumbo-Base on Mini-ImageNet: the baseline arm of the paper's Jumbo rows.
_base_ = [
    '_base_/models/jumbo_classifier.py', '_base_/datasets/mini-imagenet.py', '_base_/schedules/mini-imagenet_600e.py',
    '_base_/runtime_mmpretrain.py'
]
model = dict(
    head=dict(num_classes=_base_.data_preprocessor.num_classes, init_cfg=dict(bias=-4.6)),
    train_cfg=_base_.batch_augments)
