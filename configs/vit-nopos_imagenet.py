# Ablation: ViT-Base without position embedding.
_base_ = './vit_imagenet.py'
model = dict(backbone=dict(with_pos_embed=False))
