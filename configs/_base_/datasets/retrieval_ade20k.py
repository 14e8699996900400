# ADE20K for dense retrieval. The published protocol has 151 classes, of which label 0 is not scored.
_base_ = './retrieval.py'
_ade20k = dict(type='ADE20KDataset', data_root='data/ade/ADEChallengeData2016')
_memory = dict(
    **_ade20k,
    data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
    pipeline=_base_.memory_pipeline)
test_dataloader = dict(
    dataset=dict(
        **_ade20k,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=_base_.test_pipeline))
test_cfg = dict(
    type='RetrievalLoop', zero_is_unlabelled=True, memory_dataloader=dict(**_base_.memory_dataloader, dataset=_memory))
