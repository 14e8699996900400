# k-NN on the features of the demo's ViT with GAug alone.
# Test it with the checkpoint of locatvit-nano-gaug_digitscenes.py.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=dict(gaug=True))
