"""Leaves of data sets whose configs are not in this branch yet, made from the ADE20K and ImageNet ones."""

from conftest import ROOT

_PIPELINES = """
_train = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'{zero}),
    dict(type='RandomResize', scale={scale}, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size={crop}, cat_max_ratio=0.75), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]
_test = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale={scale}, keep_ratio=True),
    dict(type='LoadAnnotations'{zero}), dict(type='PackSegInputs')]
model = dict(data_preprocessor=dict(size={crop}), decode_head=dict(num_classes={classes}){auxiliary})
"""
_CONTEXT = """
_root = 'data/VOCdevkit/VOC2010'
_prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext')
_lists = 'ImageSets/SegmentationContext/'
train_dataloader = dict(dataset=dict(
    type='PascalContextDataset59', data_root=_root, data_prefix=_prefix, ann_file=_lists + 'train.txt',
    pipeline=_train))
val_dataloader = dict(dataset=dict(
    type='PascalContextDataset59', data_root=_root, data_prefix=_prefix, ann_file=_lists + 'val.txt', pipeline=_test))
test_dataloader = val_dataloader
"""
_COCO = """
_root = 'data/coco_stuff164k'
train_dataloader = dict(dataset=dict(
    type='COCOStuffDataset', data_root=_root, pipeline=_train,
    data_prefix=dict(img_path='images/train2017', seg_map_path='annotations/train2017')))
val_dataloader = dict(dataset=dict(
    type='COCOStuffDataset', data_root=_root, pipeline=_test,
    data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017')))
test_dataloader = val_dataloader
"""
_MINI = """
model = dict(head=dict(num_classes=100))
data_preprocessor = dict(num_classes=100)
_root = 'data/mini-imagenet'
train_dataloader = dict(dataset=dict(
    _delete_=True, type='CustomDataset', data_root=_root, data_prefix='train', pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(
    _delete_=True, type='CustomDataset', data_root=_root, data_prefix='val', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
"""


def leaf(name, folder):
    """Returns the path of a config, or of its stand-in written to ``folder``."""
    path = ROOT / 'configs' / f'{name}.py'
    if path.is_file():
        return path
    arch, _, rest = name.partition('_')
    head, _, dataset = rest.partition('_')
    base = f'{arch}_imagenet.py' if rest == 'mini-imagenet' else f'{arch}_{head}_ade20k.py'
    text = f'_base_ = {str(ROOT / "configs" / base)!r}\n'
    auxiliary = ', auxiliary_head=dict(num_classes={})' if head == 'upernet' else ''
    if rest == 'mini-imagenet':
        text += _MINI
    elif dataset == 'pascal_context59':
        text += _PIPELINES.format(zero=', reduce_zero_label=True', scale=(520, 520), crop=(480, 480), classes=59,
                                  auxiliary=auxiliary.format(59)) + _CONTEXT
    elif dataset == 'coco_stuff164k':
        text += _PIPELINES.format(zero='', scale=(2048, 512), crop=(512, 512), classes=171,
                                  auxiliary=auxiliary.format(171)) + _COCO
    else:
        raise FileNotFoundError(name)
    path = folder / f'{name}.py'
    path.write_text(text)
    return path
