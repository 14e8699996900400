# ViT-Base on ImageNet-1K, the paper's recipe: the baseline arm.
_base_ = [
    '_base_/models/vit_classifier.py', '_base_/datasets/imagenet.py', '_base_/schedules/imagenet_300e.py',
    '_base_/runtime_mmpretrain.py'
]
# Mixup or CutMix, one of them for every batch, with equal chance.
model = dict(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
