# k-NN on the features of the demo's ViT that DINO has pretrained: its teacher.pth or a checkpoint.
_base_ = './vit-nano_knn_digitscenes.py'
model = dict(backbone=dict(interpolate_mode='dino'))
