# LocAtSwin-Base on Mini-ImageNet: GAug in every window, PRR over the last map before the mean.
_base_ = './swin_mini-imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='featmap'), neck=_base_.refinement.base)
