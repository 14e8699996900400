# Half as long, for Pascal Context: the longer of the two schedules of mmseg's configs for it (40k and 80k).
_base_ = './upernet_160k.py'
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=80000)]
train_cfg = dict(max_iters=80000, val_interval=8000)
