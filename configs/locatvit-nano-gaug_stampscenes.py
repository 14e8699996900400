# Ablation: GAug alone.
_base_ = './vit-nano_stampscenes.py'
model = dict(backbone=dict(gaug=True))
