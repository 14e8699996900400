# Linear probe of the LocAtViT-Small that DINO has pretrained: the baseline with GAug in every block and PRR before the
# head; weights and number as there.
_base_ = './vit-small_dino-linear_imagenet.py'
model = dict(
    backbone=dict(gaug=True, out_type='raw'),
    neck=dict(type='PatchRefinement', num_heads=_base_.sizes.small.num_heads))
