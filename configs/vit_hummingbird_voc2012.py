# ViT-Base, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of vit_imagenet.py.
_base_ = [
    '_base_/models/vit_retrieval.py', '_base_/datasets/retrieval_voc2012.py', '_base_/runtime_mmseg.py'
]
