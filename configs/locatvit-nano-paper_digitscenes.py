# Retrofit: as locatvit-nano-identity_digitscenes.py, but GAug starts as in the paper, with alpha near ln 2.
_base_ = './vit-nano-tuned_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, gaug_init='paper', out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
