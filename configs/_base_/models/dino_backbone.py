# The plain ViT-Small of the paper's self-supervised rows, pretrained by DINO and probed afterwards.
_base_ = './sizes.py'
dino_backbone = dict(
    type='LocAtViT',
    arch='small',
    img_size=224,
    patch_size=16,
    gaug=False,
    out_type='cls_token',
    interpolate_mode='dino')  # small crops: no antialiasing, as in DINO's code
