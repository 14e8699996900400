# A frozen LocAtViT of the demo's size, one-layer head on StampScenes.
# Weights: --cfg-options checkpoint=FILE of locatvit-nano_stampscenes.py.
_base_ = './vit-nano_linear_stampscenes.py'
model = dict(backbone=dict(gaug=True))
