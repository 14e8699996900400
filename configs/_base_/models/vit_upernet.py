# Full fine-tuning with UperNet. Neck, heads, their sizes, the blocks they read and whole-image testing: mmseg's
# vit_deit-b16_mln_upernet_8xb2-160k_ade20k-512x512.py, its configs for plain ViTs pretrained with ImageNet-1K's labels.
_base_ = './vit_finetuned.py'
model = dict(
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[_base_.sizes.base.channels] * 4,
        out_channels=_base_.sizes.base.channels,
        scales=[4, 2, 1, 0.5]),
    decode_head=dict(
        type='UPerHead',
        in_channels=[_base_.sizes.base.channels] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        norm_cfg=_base_.norm_cfg),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=_base_.sizes.base.channels,
        in_index=3,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4)))

# For leaves: what a size changes in `model`.
by_size = {
    name: dict(
        backbone=dict(arch=name, drop_path_rate=size.drop_path_rate),
        neck=dict(in_channels=[size.channels] * 4, out_channels=size.channels),
        decode_head=dict(in_channels=[size.channels] * 4),
        auxiliary_head=dict(in_channels=size.channels))
    for name, size in _base_.sizes.items()
}
