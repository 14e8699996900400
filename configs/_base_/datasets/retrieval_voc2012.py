# Pascal VOC 2012 for dense retrieval: the memory is `trainaug`, queries are `val`; 21 classes.
_base_ = './retrieval.py'
_voc = dict(type='PascalVOCDataset', data_root='data/VOCdevkit/VOC2012')
_images = 'JPEGImages'
_splits = [('train', 'SegmentationClass'), ('aug', 'SegmentationClassAug')]
_memory = dict(
    type='ConcatDataset',
    datasets=[
        dict(
            **_voc,
            ann_file=f'ImageSets/Segmentation/{split}.txt',
            data_prefix=dict(img_path=_images, seg_map_path=folder),
            pipeline=_base_.memory_pipeline) for split, folder in _splits
    ])
test_dataloader = dict(
    dataset=dict(
        **_voc,
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path=_images, seg_map_path='SegmentationClass'),
        pipeline=_base_.test_pipeline))
test_cfg = dict(type='RetrievalLoop', memory_dataloader=dict(**_base_.memory_dataloader, dataset=_memory))
