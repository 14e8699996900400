# Ablation: GAug alone, Tiny.
_base_ = './vit-tiny_imagenet.py'
model = dict(backbone=dict(gaug=True))
