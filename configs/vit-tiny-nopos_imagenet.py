# Ablation: ViT-Tiny without position embedding.
_base_ = './vit-tiny_imagenet.py'
model = dict(backbone=dict(with_pos_embed=False))
