# Ablation: LocAtViT-Tiny without position embedding.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-tiny-nopos_imagenet.py (none are published).
_base_ = './vit-tiny_linear_ade20k.py'
model = dict(backbone=dict(gaug=True, with_pos_embed=False))
