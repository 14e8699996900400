# Optimiser, warm-up, decay and length: mmseg's vit_deit-b16_mln_upernet_8xb2-160k_ade20k-512x512.py, for plain ViTs
# pretrained with ImageNet-1K's labels: AdamW, 160,000 iterations at batch 16, warm-up, then linear to zero.
# Layer-wise decay: 0.9 as in mmseg's beit-base_upernet_8xb2-160k_ade20k-640x640.py, whose weights have seen labels too.
# (MAE's 0.65 is for weights that have not.)
# No weight decay on norms, biases, other vectors, position embedding and tokens (mmseg's ViT configs decay biases).
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        flat_decay_mult=0.,
        custom_keys={
            '.cls_token': dict(decay_mult=0.),
            '.reg_token': dict(decay_mult=0.),
            '.pos_embed': dict(decay_mult=0.)
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=1500, end=160000, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16)
