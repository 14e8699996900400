# EoMT, an encoder-only mask transformer: queries in the last blocks of the ViT (CVPR 2025, arXiv 2503.19108). Queries,
# blocks, loss and sliding window: its authors' configs for ADE20K (100 queries) and for ViT-Base (3 blocks).
_base_ = './vit_segmentor.py'
model = dict(
    type='EoMT',
    # The normalisation of pretraining (the paper's, 0.5 / 0.5), as for UperNet: see vit_upernet.py.
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    # The queries read what the final norm gives. No drop path, as in EoMT's code.
    backbone=dict(out_indices=-1, out_type='raw', final_norm=True),
    decode_head=dict(
        _delete_=True, type='EoMTHead', in_channels=_base_.sizes.base.channels, num_queries=100, num_blocks=3),
    # Windows side by side; the last one overlaps. With two of them, as most images have, they are EoMT's.
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(512, 512)))
custom_hooks = [dict(type='AnnealMasks')]
