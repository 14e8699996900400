# k-NN on the features of a Jumbo of the demo's size; test it with the checkpoint of jumbo-nano_digitscenes.py.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=_base_.nano_jumbo)
