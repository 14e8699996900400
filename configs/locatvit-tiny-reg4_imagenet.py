# Variant: LocAtRegViT-Tiny: four register tokens.
_base_ = './locatvit-tiny_imagenet.py'
model = dict(backbone=dict(num_registers=4))
