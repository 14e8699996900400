# Plain Jumbo-Base (six class tokens and an MLP that all blocks share) as a classifier: the baseline of the Jumbo rows.
_base_ = './vit_classifier.py'
find_unused_parameters = True  # without PRR the MLP of the last block's patches reaches no loss
_tokens = 6
model = dict(
    backbone=dict(type='LocAtJumbo', num_cls_tokens=_tokens, jumbo_mlp_ratio=4),
    head=dict(
        in_channels=_tokens * _base_.sizes.base.channels,
        init_cfg=dict(_delete_=True, type='Constant', layer='Linear', val=0., bias=-6.9)))

# For leaves: what a size changes in `model`, and PRR over class tokens and patches, for each size.
by_size = {name: dict(head=dict(in_channels=_tokens * size.channels)) for name, size in _base_.sizes.items()}
refinement = {name: dict(num_cls_tokens=_tokens) for name in _base_.sizes}
