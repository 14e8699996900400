# The demo's ViT with UperNet, fine-tuned whole.
_base_ = [
    '_base_/models/vit_upernet.py', '_base_/models/nano.py', '_base_/datasets/digitscenes_seg.py',
    '_base_/schedules/digitscenes_seg.py', '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(
    data_preprocessor=dict(size=(36, 36)),
    backbone=dict(out_indices=(0, 1, 2, 3), **_base_.nano),
    neck=dict(in_channels=[64] * 4, out_channels=64, scales=[2, 1, 1, 0.5]),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=11),
    auxiliary_head=dict(in_channels=64, channels=64, num_classes=11))
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=1))
