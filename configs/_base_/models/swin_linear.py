# The paper's segmentation protocol on Swin: the last stage alone (stride 32), before the final norm, frozen.
_base_ = './vit_linear.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='LocAtSwin',
        arch='base',
        img_size=224,  # of pretraining: it sets windows and shifts; any size goes in
        gaug=False,
        final_norm=False,
        out_indices=-1,
        frozen_stages=4),
    decode_head=dict(in_channels=1024))
by_size = dict(
    _delete_=True,
    tiny=dict(backbone=dict(arch='tiny'), decode_head=dict(in_channels=768)),
    base=dict(backbone=dict(arch='base'), decode_head=dict(in_channels=1024)))
