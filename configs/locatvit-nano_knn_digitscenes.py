# k-NN on the features of the demo's LocAtViT; test it with the checkpoint of locatvit-nano_digitscenes.py.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
