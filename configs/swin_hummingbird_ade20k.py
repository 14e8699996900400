# Swin-Base, dense retrieval (Hummingbird) on ADE20K: no head is trained.
# Test it with the checkpoint of swin_imagenet.py.
_base_ = [
    '_base_/models/swin_retrieval.py', '_base_/datasets/retrieval_ade20k.py', '_base_/runtime_mmseg.py'
]
