# Semantic FPN on a pyramid: neck and head of mmseg's fpn_r50_4xb4-160k_ade20k-512x512.py (mmseg has none on a ViT).
_base_ = './vit_pyramid.py'
model = dict(
    neck=[
        _base_.pyramid,
        dict(type='FPN', in_channels=[_base_.sizes.base.channels] * 4, out_channels=256, num_outs=4)
    ],
    decode_head=dict(
        type='FPNHead',
        in_channels=[256] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        norm_cfg=_base_.norm_cfg))
