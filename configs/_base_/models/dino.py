# DINO on a ViT-Small: the model of the paper's self-supervised rows. `gaug=True` and PatchRefinement make it LocAtViT.
_base_ = './sizes.py'
model = dict(
    type='DINO',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    backbone=dict(
        type='LocAtViT',
        arch='small',
        img_size=224,
        patch_size=16,
        gaug=False,
        out_type='cls_token',
        interpolate_mode='dino',  # small crops: no antialiasing, as in DINO's code
        drop_path_rate=0.1),  # of the student alone
    head=dict(type='DINOHead', in_channels=_base_.sizes.small.channels))
custom_hooks = [dict(type='DINOHook', frozen_epochs=1)]
