# The demo's ViT as a classifier on DigitScenes: the baseline arm.
_base_ = [
    '_base_/models/vit_classifier.py', '_base_/models/nano.py', '_base_/datasets/digitscenes.py',
    '_base_/schedules/digitscenes_5e.py', '_base_/runtime_mmpretrain.py'
]
model = dict(
    backbone=_base_.nano,
    head=dict(num_classes=10, in_channels=64, loss=dict(_delete_=True, type='CrossEntropyLoss')))
