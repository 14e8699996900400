# The demo's LocAtViT as a classifier: the baseline with GAug and PRR.
_base_ = './vit-nano_digitscenes.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
