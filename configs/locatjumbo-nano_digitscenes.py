# A LocAtJumbo of the demo's size as a classifier on DigitScenes.
_base_ = './jumbo-nano_digitscenes.py'
find_unused_parameters = False
model = dict(
    backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2, num_cls_tokens=6))
