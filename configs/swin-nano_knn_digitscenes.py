# k-NN on the features of a Swin of the demo's size; test it with the checkpoint of swin-nano_digitscenes.py.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=dict(out_type='avg_featmap', **_base_.nano_swin))
