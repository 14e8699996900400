# LocAtViT-Small, UperNet, full fine-tuning on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-small_imagenet.py (none are published).
_base_ = './vit-small_upernet_pascal_context59.py'
model = dict(backbone=dict(gaug=True))
