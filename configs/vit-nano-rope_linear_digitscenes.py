# The demo's ViT with rotary position embedding, frozen, one-layer head on DigitScenes.
# Weights: --cfg-options checkpoint=FILE of vit-nano-rope_digitscenes.py.
_base_ = './vit-nano_linear_digitscenes.py'
model = dict(backbone=_base_.nano_rope)
