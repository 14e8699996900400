# Pascal Context, 59 classes, in mmseg's layout; label 0 is none. Augmentation is ADE20K's, images are smaller.
_base_ = './ade20k.py'
num_classes = 59
crop_size = (480, 480)
_scale = (520, 520)
_smaller = dict(RandomResize=dict(scale=_scale), Resize=dict(scale=_scale), RandomCrop=dict(crop_size=crop_size))
train_pipeline = [dict(step, **_smaller.get(step['type'], {})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **_smaller.get(step['type'], {})) for step in _base_.test_pipeline]
_resized = [
    dict(type='Resize', scale=(int(520 * ratio), int(520 * ratio)), keep_ratio=True) for ratio in _base_.tta_ratios
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[_resized, *_base_.tta_after_resize]),
]

_context = dict(
    type='PascalContextDataset59',
    data_root='data/VOCdevkit/VOC2010',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'))
train_dataloader = dict(
    dataset=dict(**_context, ann_file='ImageSets/SegmentationContext/train.txt', pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(**_context, ann_file='ImageSets/SegmentationContext/val.txt', pipeline=test_pipeline))
test_dataloader = val_dataloader
