# Variant: LocAtRegViT-Base: four register tokens.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-reg4_imagenet.py (none are published).
_base_ = './vit_linear_ade20k.py'
model = dict(backbone=dict(gaug=True, num_registers=4))
