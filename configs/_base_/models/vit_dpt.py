# DPT: head, its sizes and the blocks it reads are those of mmseg's dpt_vit-b16_8xb2-160k_ade20k-512x512.py.
_base_ = './vit_finetuned.py'
model = dict(
    backbone=dict(out_type='featmap_and_cls_token'),  # the head reads the class token into every patch
    decode_head=dict(
        type='DPTHead',
        in_channels=(_base_.sizes.base.channels, ) * 4,
        in_index=(0, 1, 2, 3),
        input_transform='multiple_select',
        embed_dims=_base_.sizes.base.channels,
        post_process_channels=[96, 192, 384, 768],
        readout_type='project',
        channels=256,
        norm_cfg=_base_.norm_cfg))
