# LocAtJumbo-Base, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of locatjumbo_imagenet.py.
_base_ = './jumbo_hummingbird_voc2012.py'
model = dict(backbone=dict(gaug=True))
