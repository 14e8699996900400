# The demo's ViT with UperNet, fine-tuned whole: a smaller peak and fewer iterations than for a frozen backbone.
_base_ = [
    '_base_/models/vit_upernet.py', '_base_/models/nano.py', '_base_/datasets/digitscenes_seg.py',
    '_base_/schedules/digitscenes_seg.py', '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(
    data_preprocessor=dict(size=(36, 36)),
    backbone=dict(out_indices=(0, 1, 2, 3), **_base_.nano),
    neck=dict(in_channels=[64] * 4, out_channels=64, scales=[2, 1, 1, 0.5]),
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=_base_.num_classes),
    auxiliary_head=dict(in_channels=64, channels=64, num_classes=_base_.num_classes))
_iterations = 600
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(_base_.param_scheduler[0], eta_max=1e-3, total_steps=_iterations)]
train_cfg = dict(max_iters=_iterations, val_interval=_iterations)
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=2))
