# EoMT's training on ADE20K: AdamW, 31 epochs at batch 16 (39,153 iterations), layer-wise decay 0.8, polynomial decay of
# power 0.9, gradients clipped to a norm of 0.01. What is not set here is UperNet's.
# Chosen here: one linear warm-up of 1,500 iterations for all; EoMT's code warms up new layers for 500 iterations, then
# the ViT for 1,000. No weight decay on norms, biases, other vectors, position embedding and tokens; theirs decays all.
_base_ = './upernet_160k.py'
_iterations = 39153
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05), clip_grad=dict(max_norm=0.01), paramwise_cfg=dict(layer_decay_rate=0.8))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], power=0.9, end=_iterations)]
train_cfg = dict(max_iters=_iterations, val_interval=4000)
