# Variant: RegViT-Tiny: four register tokens.
# Weights: --cfg-options checkpoint=FILE, the result of vit-tiny-reg4_imagenet.py (none are published).
_base_ = './vit-tiny_linear_coco_stuff164k.py'
model = dict(backbone=dict(num_registers=4))
