# A frozen ViT of the demo's size, one-layer head on StampScenes.
# Weights: --cfg-options checkpoint=FILE of vit-nano_stampscenes.py.
_base_ = [
    '_base_/models/vit_linear.py', '_base_/models/nano.py', '_base_/datasets/stampscenes_seg.py',
    '_base_/schedules/digitscenes_seg.py', '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(
    data_preprocessor=dict(size=(128, 128), mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(frozen_stages=4, **_base_.nano_stamps),
    decode_head=dict(in_channels=64, channels=128, num_classes=_base_.num_classes))
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
