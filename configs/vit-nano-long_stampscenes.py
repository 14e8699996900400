# Control: the plain ViT trained for 32 epochs instead of 20. Does longer training close the gap?
_base_ = './vit-nano_stampscenes.py'
param_scheduler = [
    dict(_base_.param_scheduler[0], end=3.2),
    dict(_base_.param_scheduler[1], begin=3.2, T_max=28.8, end=32)
]
train_cfg = dict(max_epochs=32, val_interval=32)
