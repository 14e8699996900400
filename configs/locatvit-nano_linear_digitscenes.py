# The demo's frozen LocAtViT with the one-layer head.
_base_ = './vit-nano_linear_digitscenes.py'
model = dict(backbone=dict(gaug=True))
