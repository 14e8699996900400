# k-NN on the features of the demo's ViT with PRR alone.
# Test it with the checkpoint of locatvit-nano-prr_digitscenes.py.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=dict(out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
