# LocAtJumbo-Base on ImageNet-1K: GAug in every block, PRR over class tokens and patches.
_base_ = './jumbo_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.base)
find_unused_parameters = False
