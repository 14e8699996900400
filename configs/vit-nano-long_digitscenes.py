# Control: the plain ViT trained for 8 epochs instead of 5. Does longer training close the gap?
_base_ = './vit-nano_digitscenes.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=0.8, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=True,
        begin=0.8,
        T_max=7.2,
        end=8,
        convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8, val_interval=8)
