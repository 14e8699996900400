# LocAtJumbo-Tiny on ImageNet-1K: GAug in every block, PRR over class tokens and patches.
_base_ = './jumbo-tiny_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.tiny)
find_unused_parameters = False
