# The patch features of a plain Swin-Base after its last stage but one (stride 16), for dense retrieval: no head.
_base_ = './vit_retrieval.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='LocAtSwin',
        arch='base',
        img_size=224,
        gaug=False,
        final_norm=False,
        out_indices=-2))
