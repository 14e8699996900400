# Plain Swin-Base as a classifier: the paper's baseline. `gaug=True` and PatchRefinement make it LocAtSwin.
sizes = dict(
    tiny=dict(channels=768, num_heads=24, drop_path_rate=0.1),
    base=dict(channels=1024, num_heads=32, drop_path_rate=0.4))
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='LocAtSwin',
        arch='base',
        img_size=224,
        gaug=False,
        out_type='avg_featmap',
        drop_path_rate=sizes['base']['drop_path_rate']),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=sizes['base']['channels'],
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))

# For leaves: what a size changes in `model`, and PRR over the last map (`out_type='featmap'`), for each size.
by_size = {
    name: dict(
        backbone=dict(arch=name, drop_path_rate=size['drop_path_rate']), head=dict(in_channels=size['channels']))
    for name, size in sizes.items()
}
refinement = {
    name: dict(type='PatchRefinement', num_heads=size['num_heads'], out_type='avg_featmap')
    for name, size in sizes.items()
}
