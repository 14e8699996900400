# LocAtViT-Small, UperNet, full fine-tuning on ADE20K.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-small_imagenet.py (none are published).
_base_ = './vit-small_upernet_ade20k.py'
model = dict(backbone=dict(gaug=True))
