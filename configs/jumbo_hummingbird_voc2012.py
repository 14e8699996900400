# Jumbo-Base, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of jumbo_imagenet.py.
_base_ = './vit_hummingbird_voc2012.py'
model = dict(backbone=dict(type='LocAtJumbo', num_cls_tokens=6, jumbo_mlp_ratio=4))
