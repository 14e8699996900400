# The demo's segmentation: the paper's schedule with a higher peak, 800 iterations long.
_base_ = './linear_20k.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [dict(_base_.param_scheduler[0], eta_max=3e-3, total_steps=800)]
train_cfg = dict(max_iters=800, val_interval=800)
