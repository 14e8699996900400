# EoMT's training on ADE20K: AdamW, 31 epochs at batch 16 (39,153 iterations), layer-wise decay 0.8, polynomial decay of
# power 0.9, gradients clipped to a norm of 0.01.
# Chosen here: one linear warm-up of 1,500 iterations for all; EoMT's code warms up new layers for 500 iterations, then
# the ViT for 1,000. No weight decay on norms, biases, other vectors, position embedding and tokens; theirs decays all.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01),
    paramwise_cfg=dict(
        layer_decay_rate=0.8,
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        flat_decay_mult=0.,
        custom_keys={
            '.cls_token': dict(decay_mult=0.),
            '.reg_token': dict(decay_mult=0.),
            '.pos_embed': dict(decay_mult=0.)
        }))
_iterations = 39153
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=0.9, begin=1500, end=_iterations, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=_iterations, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16)
