# What every segmentation data set shares: loaders, metric, and how test-time augmentation averages.
train_dataloader = dict(
    num_workers=4, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(
    batch_size=1, num_workers=4, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

# `tools/test.py --tta`: six scales, each as it is and mirrored, as in mmseg's configs. A data set adds the resizing.
tta_model = dict(type='SegTTAModel')
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
tta_after_resize = [
    [
        dict(type='RandomFlip', prob=0., direction='horizontal'),
        dict(type='RandomFlip', prob=1., direction='horizontal')
    ],
    [dict(type='LoadAnnotations')],
    [dict(type='PackSegInputs')],
]
