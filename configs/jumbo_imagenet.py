# Jumbo-Base (six class tokens and an MLP that all blocks share) on ImageNet-1K: the baseline of the paper's Jumbo rows.
_base_ = './vit_imagenet.py'
find_unused_parameters = True  # without PRR the MLP of the last block's patches reaches no loss
model = dict(
    backbone=dict(type='LocAtJumbo', num_cls_tokens=6, jumbo_mlp_ratio=4),
    head=dict(
        in_channels=6 * _base_.sizes.base.channels,
        init_cfg=dict(_delete_=True, type='Constant', layer='Linear', val=0., bias=-6.9)))
