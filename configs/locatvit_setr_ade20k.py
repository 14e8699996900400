# LocAtViT-Base, SETR-PUP, full fine-tuning on ADE20K, from the published weights.
_base_ = './vit_setr_ade20k.py'
checkpoint = _base_.sizes.base.published
model = dict(backbone=dict(gaug=True, init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
