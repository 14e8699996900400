# A LocAtSwin of the demo's size as a classifier on DigitScenes.
_base_ = './swin-nano_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, out_type='featmap'),
    neck=dict(type='PatchRefinement', num_heads=2, out_type='avg_featmap'))
