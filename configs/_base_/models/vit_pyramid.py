# Four maps of strides 4, 8, 16 and 32 from a ViT's four, for heads of hierarchical backbones: mmseg's Feature2Pyramid,
# as in its configs for BEiT and MAE.
_base_ = './vit_finetuned.py'
pyramid = dict(
    type='Feature2Pyramid',
    embed_dim=_base_.sizes.base.channels,
    rescales=[4, 2, 1, 0.5],
    norm_cfg=_base_.norm_cfg)
