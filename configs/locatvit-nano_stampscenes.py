# A LocAtViT of the demo's size as a classifier on StampScenes: the baseline with GAug and PRR.
_base_ = './vit-nano_stampscenes.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
