# Retrofit, control: a trained plain ViT, fine-tuned for 2 epochs at a third of the learning rate. Start:
# --cfg-options checkpoint=FILE of vit-nano_digitscenes.py.
_base_ = './vit-nano_digitscenes.py'
checkpoint = None
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=0.2, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=True,
        begin=0.2,
        T_max=1.8,
        end=2,
        convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=2, val_interval=2)
