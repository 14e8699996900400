# k-NN on the features of the demo's ViT; test it with the checkpoint of vit-nano_digitscenes.py.
_base_ = ['_base_/models/nano.py', '_base_/datasets/digitscenes_knn.py', '_base_/runtime_mmpretrain.py']
model = dict(
    type='ImageClassifier', backbone=dict(type='LocAtViT', gaug=False, out_type='cls_token', **_base_.nano))
