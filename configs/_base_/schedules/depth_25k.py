# Length and batch of mmseg's vpd_sd_4xb8-25k_nyu-480x480.py. Optimiser and rates are UperNet's: VPD's are for a
# diffusion model.
_base_ = './upernet_160k.py'
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=25000)]
train_cfg = dict(max_iters=25000, val_interval=1000)
auto_scale_lr = dict(base_batch_size=32)
