# SegFormer's head on a pyramid: that of mmseg's segformer_mit-b5_8xb2-160k_ade20k-512x512.py (mmseg has none on a ViT).
_base_ = './vit_pyramid.py'
model = dict(
    neck=_base_.pyramid,
    decode_head=dict(
        type='SegformerHead',
        in_channels=[_base_.sizes.base.channels] * 4,
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        norm_cfg=_base_.norm_cfg))
