# A Swin of the demo's size as a classifier on DigitScenes.
_base_ = [
    '_base_/models/swin_classifier.py', '_base_/models/nano.py', '_base_/datasets/digitscenes.py',
    '_base_/schedules/digitscenes_5e.py', '_base_/runtime_mmpretrain.py'
]
model = dict(
    backbone=dict(out_type='avg_featmap', **_base_.nano_swin),
    head=dict(num_classes=10, in_channels=64, loss=dict(_delete_=True, type='CrossEntropyLoss')))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.relative_position_bias_table': dict(decay_mult=0.)}))
