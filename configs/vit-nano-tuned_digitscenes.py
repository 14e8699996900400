# Retrofit, control: a trained plain ViT is trained on, for as long again and by the same rates. A share of it:
# `share` in a suite. Start: --cfg-options load_from=FILE of vit-nano_digitscenes.py.
_base_ = './vit-nano_digitscenes.py'
_iterations = 2815  # of the pretraining: 5 epochs of 36,000 images at batch 64
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1.5e-3,
        total_steps=_iterations,
        pct_start=0.1,
        div_factor=1e3,
        final_div_factor=0.1,  # of the first rate: the last one is a hundredth of the peak
        by_epoch=False)
]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=_iterations, val_interval=_iterations)
default_hooks = dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=300))
log_processor = dict(by_epoch=False)
