# The paper's pretraining on Mini-ImageNet: as on ImageNet-1K, but 600 epochs, 120 of them warm-up, and peak 5e-4.
# The peak is known for LocAtViT-Tiny alone. All others take it too, for want of another: a deviation that
# configs/README.md lists.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=2e-4, end=120),  # from 1e-7
    dict(_base_.param_scheduler[1], end_factor=2e-4, begin=120, end=600),  # to 1e-7
]
train_cfg = dict(max_epochs=600)
