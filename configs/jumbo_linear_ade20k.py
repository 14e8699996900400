# Jumbo-Base, frozen, one-layer head on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of jumbo_imagenet.py (none are published).
_base_ = './vit_linear_ade20k.py'
model = dict(backbone=dict(type='LocAtJumbo', num_cls_tokens=6, jumbo_mlp_ratio=4))
