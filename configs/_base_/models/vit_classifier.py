# Plain ViT-Base as a classifier: the baseline of the paper. `gaug=True` and PatchRefinement make it LocAtViT.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='LocAtViT', arch='base', img_size=224, patch_size=16, gaug=False, drop_path_rate=0.4),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
