# Swin-Base, dense retrieval (Hummingbird) on Pascal VOC 2012: no head is trained.
# Test it with the checkpoint of swin_imagenet.py.
_base_ = [
    '_base_/models/swin_retrieval.py', '_base_/datasets/retrieval_voc2012.py', '_base_/runtime_mmseg.py'
]
