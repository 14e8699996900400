# Dense retrieval (Hummingbird) on DigitScenes from the patches of the demo's ViT: no head is trained.
# Test it with the checkpoint of vit-nano_digitscenes.py.
_base_ = [
    '_base_/models/vit_retrieval.py', '_base_/models/nano.py', '_base_/datasets/retrieval_digitscenes.py',
    '_base_/runtime_mmseg.py'
]
model = dict(backbone=_base_.nano)
