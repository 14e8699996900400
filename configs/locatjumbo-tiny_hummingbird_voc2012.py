# LocAtJumbo-Tiny, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of locatjumbo-tiny_imagenet.py.
_base_ = './jumbo-tiny_hummingbird_voc2012.py'
model = dict(backbone=dict(gaug=True))
