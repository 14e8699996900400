# DINO's schedule: 100 epochs, 10 of them warm-up from 0, then cosine; decay rises from 0.04 to 0.4. The rate is
# 5e-4 for each 256 images of a batch; the paper states 64 a GPU, and the number of GPUs, here 8, is not known.
_epochs = 100
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    optimizer=dict(type='PerParameterClipAdamW', lr=1e-3, weight_decay=0.04, max_norm=3.0),
    # No decay on biases and 1-D parameters; class token and position embedding are decayed.
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-8, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=10, end=_epochs, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingWeightDecay',
        eta_min=0.4,
        by_epoch=True,
        begin=0,
        end=_epochs,
        convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=_epochs)
auto_scale_lr = dict(base_batch_size=512)
