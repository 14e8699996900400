# LocAtJumbo-Tiny on ImageNet-1K: GAug in every block, PRR over class tokens and patches.
_base_ = './jumbo-tiny_imagenet.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(_base_.refinement.tiny, num_cls_tokens=6))
find_unused_parameters = False
