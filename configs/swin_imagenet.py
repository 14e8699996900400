# Swin-Base on ImageNet-1K: the baseline arm of the paper's Swin rows.
_base_ = [
    '_base_/models/swin_classifier.py', '_base_/datasets/imagenet_normalised.py',
    '_base_/schedules/imagenet_300e.py', '_base_/runtime_mmpretrain.py'
]
model = dict(head=dict(num_classes=_base_.data_preprocessor.num_classes), train_cfg=_base_.batch_augments)
