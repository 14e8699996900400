# SETR with progressive upsampling (PUP), its three auxiliary heads and sliding test: those of mmseg's
# setr_vit-l_pup_8xb2-160k_ade20k-512x512.py. It reads blocks 10, 15, 20 and 24 of 24; here 5, 8, 10 and 12 of 12.
_base_ = './vit_finetuned.py'
_head = dict(
    type='SETRUPHead',
    in_channels=_base_.sizes.base.channels,
    channels=256,
    kernel_size=3,
    dropout_ratio=0,
    norm_cfg=_base_.norm_cfg)
_auxiliary = dict(
    num_convs=2,
    up_scale=4,
    align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    **_head)
model = dict(
    backbone=dict(out_indices=(4, 7, 9, 11)),
    decode_head=dict(in_index=3, num_convs=4, up_scale=2, **_head),
    auxiliary_head=[dict(in_index=index, **_auxiliary) for index in (0, 1, 2)],
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
