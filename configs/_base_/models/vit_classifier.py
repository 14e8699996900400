# Plain ViT-Base as a classifier: the baseline of the paper. `gaug=True` and PatchRefinement make it LocAtViT.
_base_ = './sizes.py'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='LocAtViT',
        arch='base',
        img_size=224,
        patch_size=16,
        gaug=False,
        drop_path_rate=_base_.sizes.base.drop_path_rate),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=_base_.sizes.base.channels,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))

# For leaves: what a size changes in `model`, and PRR, which reads all tokens (`out_type='raw'`), for each size.
by_size = {
    name: dict(
        backbone=dict(arch=name, drop_path_rate=size.drop_path_rate), head=dict(in_channels=size.channels))
    for name, size in _base_.sizes.items()
}
refinement = {name: dict(type='PatchRefinement', num_heads=size.num_heads) for name, size in _base_.sizes.items()}
