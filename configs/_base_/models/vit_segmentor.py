# What the segmentors share: a plain ViT-Base that gives maps from its blocks. `gaug=True` makes it LocAtViT.
_base_ = './sizes.py'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', bgr_to_rgb=True, pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='LocAtViT',
        arch='base',
        img_size=224,  # of pretraining: it sets the Gaussians' reference grid; any size goes in
        patch_size=16,
        gaug=False,
        out_type='featmap',
        final_norm=False),  # maps come from the blocks, before the final norm
    decode_head=dict(
        align_corners=False, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
