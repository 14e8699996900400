# The paper's segmentation protocol: a frozen backbone and its "one-layer head", which is mmseg's FCNHead with
# one 1x1 convolution, GroupNorm of one group and GELU before the classifier.
_base_ = './vit_segmentor.py'
model = dict(
    # ImageNet's normalisation, as in the paper's segmentation runs (pretraining used 0.5 / 0.5).
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(out_indices=-1, frozen_stages=12),
    decode_head=dict(
        type='FCNHead',
        in_channels=_base_.sizes.base.channels,
        in_index=0,
        channels=512,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0,
        norm_cfg=dict(type='GN', num_groups=1),
        act_cfg=dict(type='GELU')))

# For leaves: what a size changes in `model`.
by_size = {
    name: dict(backbone=dict(arch=name), decode_head=dict(in_channels=size.channels))
    for name, size in _base_.sizes.items()
}
