# Ablation: LocAtViT-Tiny without position embedding.
_base_ = './locatvit-tiny_imagenet.py'
model = dict(backbone=dict(with_pos_embed=False))
