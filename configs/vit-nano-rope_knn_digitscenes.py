# k-NN on the features of the demo's ViT with rotary position embedding.
# Test it with the checkpoint of vit-nano-rope_digitscenes.py.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=_base_.nano_rope)
