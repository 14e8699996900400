# DINO's schedule in miniature: 10 epochs, one of them warm-up from 0, then cosine; decay rises from 0.04 to 0.4.
_epochs = 10
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='PerParameterClipAdamW', lr=1e-3, weight_decay=0.04, max_norm=3.0),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-8, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=_epochs, convert_to_iter_based=True),
    dict(type='CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0, end=_epochs,
         convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=_epochs)
auto_scale_lr = dict(base_batch_size=64)
