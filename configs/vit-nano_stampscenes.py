# A ViT of the demo's size as a classifier on StampScenes: the baseline arm.
_base_ = [
    '_base_/models/vit_classifier.py', '_base_/models/nano.py', '_base_/datasets/stampscenes.py',
    '_base_/schedules/stampscenes_20e.py', '_base_/runtime_mmpretrain.py'
]
model = dict(
    backbone=_base_.nano_stamps,
    head=dict(num_classes=9, in_channels=64, loss=dict(_delete_=True, type='CrossEntropyLoss')))
