# Ablation: GAug alone.
_base_ = './vit-nano_digitscenes.py'
model = dict(backbone=dict(gaug=True))
