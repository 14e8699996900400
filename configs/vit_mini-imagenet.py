# ViT-Base on Mini-ImageNet, the paper's recipe: the baseline arm.
_base_ = [
    '_base_/models/vit_classifier.py', '_base_/datasets/mini-imagenet.py', '_base_/schedules/mini-imagenet_600e.py',
    '_base_/runtime_mmpretrain.py'
]
model = dict(head=dict(num_classes=_base_.data_preprocessor.num_classes), train_cfg=_base_.batch_augments)
