# Ablation: LocAtViT-Base without position embedding.
_base_ = './locatvit_imagenet.py'
model = dict(backbone=dict(with_pos_embed=False))
