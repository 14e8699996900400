# k-NN on the features of the demo's LocAtViT with rotary position embedding.
# Test it with the checkpoint of locatvit-nano-rope_digitscenes.py.
_base_ = './vit-nano-rope_knn_digitscenes.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
