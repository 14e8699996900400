# The demo's recipe for StampScenes: 20 epochs, of which a tenth is warm-up.
_base_ = './digitscenes_5e.py'
_epochs = 20
param_scheduler = [
    dict(_base_.param_scheduler[0], end=2),
    dict(_base_.param_scheduler[1], begin=2, T_max=_epochs - 2, end=_epochs)
]
train_cfg = dict(max_epochs=_epochs, val_interval=_epochs)
