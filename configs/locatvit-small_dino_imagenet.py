# LocAtViT-Small, DINO on ImageNet-1K: the baseline with GAug in every block and PRR before the head.
_base_ = './vit-small_dino_imagenet.py'
model = dict(
    backbone=dict(gaug=True, out_type='raw'),
    neck=dict(type='PatchRefinement', num_heads=_base_.sizes.small.num_heads))
