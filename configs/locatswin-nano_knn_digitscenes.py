# k-NN on the features of a LocAtSwin of the demo's size; test it with the checkpoint of locatswin-nano_digitscenes.py.
_base_ = './swin-nano_knn_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, out_type='featmap'),
    neck=dict(type='PatchRefinement', num_heads=2, out_type='avg_featmap'))
