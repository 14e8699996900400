# The demo's LocAtViT with rotary position embedding as a classifier on DigitScenes.
_base_ = './vit-nano-rope_digitscenes.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
