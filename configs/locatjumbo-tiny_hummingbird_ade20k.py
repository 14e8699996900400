# LocAtJumbo-Tiny, dense retrieval (Hummingbird) on ADE20K: no head is trained.
# Test it with the checkpoint of locatjumbo-tiny_imagenet.py.
_base_ = './jumbo-tiny_hummingbird_ade20k.py'
model = dict(backbone=dict(gaug=True))
