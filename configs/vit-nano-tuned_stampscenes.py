# Retrofit, control: a trained plain ViT is trained on, for as long again and by the same rates. A share of it:
# `share` in a suite. Start: --cfg-options load_from=FILE of vit-nano_stampscenes.py.
_base_ = './vit-nano_stampscenes.py'
_iterations, _warmup = 3760, 376  # of the pretraining: 20 epochs of 12,000 images at batch 64, and two epochs
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=_warmup),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=_warmup,
        T_max=_iterations - _warmup,
        end=_iterations),
]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=_iterations, val_interval=_iterations)
default_hooks = dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=300))
log_processor = dict(by_epoch=False)
