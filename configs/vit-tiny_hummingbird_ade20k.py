# ViT-Tiny, dense retrieval (Hummingbird) on ADE20K: no head is trained.
# Test it with the checkpoint of vit-tiny_imagenet.py.
_base_ = './vit_hummingbird_ade20k.py'
model = dict(backbone=dict(arch='tiny'))
