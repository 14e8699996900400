# ViT-Base with rotary position embedding, k-NN on ImageNet-1K: no head is trained.
# Test it with the checkpoint of vit-rope_imagenet.py.
_base_ = './vit_knn_imagenet.py'
model = dict(backbone=dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5))
