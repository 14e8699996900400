# LocAtSwin-Base, dense retrieval (Hummingbird) on ADE20K: no head is trained.
# Test it with the checkpoint of locatswin_imagenet.py.
_base_ = './swin_hummingbird_ade20k.py'
model = dict(backbone=dict(gaug=True))
