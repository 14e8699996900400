# LocAtViT-Tiny, frozen, one-layer head on Pascal Context, from the published weights.
_base_ = './vit-tiny_linear_pascal_context59.py'
checkpoint = _base_.sizes.tiny.published
model = dict(backbone=dict(gaug=True, init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
