# The demo's ViT with EoMT, fine-tuned whole: queries in its last two blocks.
_base_ = [
    '_base_/models/vit_eomt.py', '_base_/models/nano.py', '_base_/datasets/digitscenes_seg.py',
    '_base_/schedules/eomt_39k.py', '_base_/runtime_eomt.py'
]
checkpoint = None
model = dict(
    data_preprocessor=dict(size=(36, 36)),
    backbone=_base_.nano,
    decode_head=dict(
        in_channels=64, num_classes=_base_.num_classes, num_queries=20, num_blocks=2, num_upscalings=1,
        loss=dict(num_points=400)),
    test_cfg=dict(_delete_=True, mode='whole'))
tta_model = dict(type='ScoreTTAModel')
_iterations = 600
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=None)
param_scheduler = [dict(_base_.param_scheduler[0], end=50), dict(_base_.param_scheduler[1], begin=50, end=_iterations)]
auto_scale_lr = dict(base_batch_size=32)
train_cfg = dict(max_iters=_iterations, val_interval=_iterations)
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=2))
