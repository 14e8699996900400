# ViT-Base on ImageNet-1K, the paper's recipe: the baseline arm.
_base_ = [
    '_base_/models/vit_classifier.py', '_base_/datasets/imagenet.py', '_base_/schedules/imagenet_300e.py',
    '_base_/runtime_mmpretrain.py'
]
model = dict(head=dict(num_classes=_base_.data_preprocessor.num_classes), train_cfg=_base_.batch_augments)
