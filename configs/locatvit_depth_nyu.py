# LocAtViT-Base, depth, full fine-tuning on NYU Depth V2, from the published weights.
_base_ = './vit_depth_nyu.py'
checkpoint = _base_.sizes.base.published
model = dict(backbone=dict(gaug=True, init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
