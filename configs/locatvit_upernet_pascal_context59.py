# LocAtViT-Base, UperNet, full fine-tuning on Pascal Context, from the published weights.
_base_ = './vit_upernet_pascal_context59.py'
checkpoint = _base_.sizes.base.published
model = dict(backbone=dict(gaug=True, init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
