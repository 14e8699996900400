# k-NN on the features of the demo's LocAtViT that DINO has pretrained: its teacher.pth or a checkpoint.
_base_ = './vit-nano_dino-knn_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
