# FCN: head and auxiliary head of mmseg's fcn_r50-d8_4xb4-160k_ade20k-512x512.py, on the last block and the ninth (mmseg
# has none on a ViT but a linear one).
_base_ = './vit_finetuned.py'
_head = dict(
    type='FCNHead', in_channels=_base_.sizes.base.channels, dropout_ratio=0.1, norm_cfg=_base_.norm_cfg)
model = dict(
    backbone=dict(out_indices=(8, 11)),
    decode_head=dict(in_index=1, channels=512, num_convs=2, concat_input=True, **_head),
    auxiliary_head=dict(
        in_index=0,
        channels=256,
        num_convs=1,
        concat_input=False,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        **_head))
