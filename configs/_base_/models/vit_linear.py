# The paper's segmentation protocol: a frozen backbone and its "one-layer head", which is mmseg's FCNHead with
# one 1x1 convolution, GroupNorm of one group and GELU before the classifier.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # ImageNet's normalisation, as in the paper's segmentation runs (pretraining used 0.5 / 0.5).
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='LocAtViT',
        arch='base',
        img_size=224,  # of pretraining: it sets the Gaussians' reference grid; any size goes in
        patch_size=16,
        gaug=False,
        out_indices=-1,
        out_type='featmap',
        final_norm=False,  # features come from the last block
        frozen_stages=12),
    decode_head=dict(
        type='FCNHead',
        in_channels=768,
        in_index=0,
        channels=512,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0,
        num_classes=150,
        norm_cfg=dict(type='GN', num_groups=1),
        act_cfg=dict(type='GELU'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
