# k-NN on the class tokens of the LocAtViT-Small that DINO has pretrained: its teacher.pth or a checkpoint.
_base_ = './vit-small_dino-knn_imagenet.py'
model = dict(
    backbone=dict(gaug=True, out_type='raw'),
    neck=dict(type='PatchRefinement', num_heads=_base_.sizes.small.num_heads))
