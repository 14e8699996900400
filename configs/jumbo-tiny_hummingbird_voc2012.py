# Jumbo-Tiny, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of jumbo-tiny_imagenet.py.
_base_ = './jumbo_hummingbird_voc2012.py'
model = dict(backbone=dict(arch='tiny'))
