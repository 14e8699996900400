# The demo's LocAtViT with rotary position embedding, frozen, one-layer head on DigitScenes.
# Weights: --cfg-options checkpoint=FILE of locatvit-nano-rope_digitscenes.py.
_base_ = './vit-nano-rope_linear_digitscenes.py'
model = dict(backbone=dict(gaug=True))
