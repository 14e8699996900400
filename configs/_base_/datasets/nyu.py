# NYU Depth V2 in mmseg's layout; labels are millimetres in PNGs of 16 bits, 0 where there is none. Crops and test are
# those of mmseg's nyu.py; its jitter of colours needs albumentations, so mmseg's own takes its place.
_base_ = './segmentation.py'
crop_size = (480, 480)
_load = [dict(type='LoadImageFromFile'), dict(type='LoadDepthAnnotation', depth_rescale_factor=1e-3)]
_pack = dict(
    type='PackSegInputs',
    meta_keys=('img_path', 'depth_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
               'flip_direction', 'category_id'))
train_pipeline = [
    *_load,
    dict(type='RandomDepthMix', prob=0.25),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='PhotoMetricDistortion'),
    _pack,
]
test_pipeline = [_load[0], dict(type='Resize', scale=(2000, 480), keep_ratio=True), _load[1], _pack]

_nyu = dict(type='NYUDataset', data_root='data/nyu')
train_dataloader = dict(
    dataset=dict(
        **_nyu,
        data_prefix=dict(img_path='images/train', depth_map_path='annotations/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        **_nyu,
        test_mode=True,
        data_prefix=dict(img_path='images/test', depth_map_path='annotations/test'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='DepthMetric', min_depth_eval=0.001, max_depth_eval=10.0, crop_type='nyu_crop')
test_evaluator = val_evaluator
tta_model = None  # mmseg averages segmentations alone
