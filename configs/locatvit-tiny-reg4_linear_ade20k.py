# Variant: LocAtRegViT-Tiny: four register tokens.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-tiny-reg4_imagenet.py (none are published).
_base_ = './vit-tiny_linear_ade20k.py'
model = dict(backbone=dict(gaug=True, num_registers=4))
