# LocAtSwin-Base, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of locatswin_imagenet.py.
_base_ = './swin_hummingbird_voc2012.py'
model = dict(backbone=dict(gaug=True))
