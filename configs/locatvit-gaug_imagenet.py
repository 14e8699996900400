# Ablation: GAug alone, Base.
_base_ = './vit_imagenet.py'
model = dict(backbone=dict(gaug=True))
