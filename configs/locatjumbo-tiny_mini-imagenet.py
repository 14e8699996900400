# LocAtJumbo-Tiny on Mini-ImageNet: GAug in every block, PRR over class tokens and patches.
_base_ = './jumbo-tiny_mini-imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=_base_.refinement.tiny)
find_unused_parameters = False
