# LocAtViT-Tiny, frozen, one-layer head on COCO-Stuff, from the published weights.
_base_ = './vit-tiny_linear_coco_stuff164k.py'
checkpoint = _base_.sizes.tiny.published
model = dict(backbone=dict(gaug=True, init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
