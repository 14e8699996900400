# Ablation: ViT-Base without position embedding.
# Weights: --cfg-options checkpoint=FILE, the result of vit-nopos_imagenet.py (none are published).
_base_ = './vit_linear_ade20k.py'
model = dict(backbone=dict(with_pos_embed=False))
