# Segmenter: mask transformer and sliding test are those of mmseg's segmenter_vit-b_mask_8xb1-160k_ade20k-512x512.py,
# which reads the last block after the final norm; here, as for all our heads, before it.
_base_ = './vit_finetuned.py'
model = dict(
    backbone=dict(out_indices=-1),
    decode_head=dict(
        type='SegmenterMaskTransformerHead',
        in_channels=_base_.sizes.base.channels,
        in_index=0,
        channels=_base_.sizes.base.channels,
        num_layers=2,
        num_heads=_base_.sizes.base.num_heads,
        embed_dims=_base_.sizes.base.channels,
        dropout_ratio=0.0),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(480, 480)))
