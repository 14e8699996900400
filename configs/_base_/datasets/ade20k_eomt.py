# ADE20K as EoMT's authors train on it: the longer side, not the shorter, is 512 px times 0.5 to 2; a crop may be filled
# by one class. The test is that of ade20k.py, but an average of scores, not of their softmax.
_base_ = './ade20k.py'
_load, _labels, _resize, _crop, *_rest = _base_.train_pipeline
train_pipeline = [
    _load, _labels, dict(_resize, scale=_base_.crop_size), dict(_crop, cat_max_ratio=1.), *_rest
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
tta_model = dict(type='ScoreTTAModel')
