# Jumbo-Tiny, dense retrieval (Hummingbird) on ADE20K: no head is trained.
# Test it with the checkpoint of jumbo-tiny_imagenet.py.
_base_ = './jumbo_hummingbird_ade20k.py'
model = dict(backbone=dict(arch='tiny'))
