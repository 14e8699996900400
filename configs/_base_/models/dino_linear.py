# DINO's linear probe: a frozen ViT-Small and a linear classifier on its class token, that of the last block after the
# norm. `gaug=True` and PatchRefinement make it LocAtViT.
_base_ = './dino_backbone.py'
checkpoint = None
model = dict(
    type='ImageClassifier',
    backbone=dict(frozen_stages=12, **_base_.dino_backbone),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=_base_.sizes.small.channels,
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
        loss=dict(type='CrossEntropyLoss')))
