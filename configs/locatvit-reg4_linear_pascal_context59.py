# Variant: LocAtRegViT-Base: four register tokens.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-reg4_imagenet.py (none are published).
_base_ = './vit_linear_pascal_context59.py'
model = dict(backbone=dict(gaug=True, num_registers=4))
