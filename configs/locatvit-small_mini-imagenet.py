# LocAtViT-Small on Mini-ImageNet: the baseline with GAug in every block and PRR before the head.
_base_ = './vit-small_mini-imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.small)
