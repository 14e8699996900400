# The paper's pretraining: AdamW, 300 epochs, 20 of them warm-up, then linear decay; both per iteration.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    # No decay on 1-D parameters, biases, position embedding and class token, nor on RoPE's frequencies and Swin's
    # tables, where a model has them; register tokens are decayed.
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        flat_decay_mult=0.,
        custom_keys={
            '.cls_token': dict(decay_mult=0.),
            '.pos_embed': dict(decay_mult=0.),
            '.rope.freqs': dict(decay_mult=0.),
            '.relative_position_bias_table': dict(decay_mult=0.)
        }),
    clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),  # from 1e-7
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=1e-4,  # to 1e-7
        by_epoch=True,
        begin=20,
        end=300,
        convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
