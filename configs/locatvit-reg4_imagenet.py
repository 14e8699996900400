# Variant: LocAtRegViT-Base: four register tokens.
_base_ = './locatvit_imagenet.py'
model = dict(backbone=dict(num_registers=4))
