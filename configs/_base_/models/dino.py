# DINO on a ViT-Small: the model of the paper's self-supervised rows. `gaug=True` and PatchRefinement make it LocAtViT.
_base_ = './dino_backbone.py'
model = dict(
    type='DINO',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    backbone=dict(drop_path_rate=0.1, **_base_.dino_backbone),  # drop path: of the student alone
    head=dict(type='DINOHead', in_channels=_base_.sizes.small.channels))
custom_hooks = [dict(type='DINOHook', frozen_epochs=1)]
