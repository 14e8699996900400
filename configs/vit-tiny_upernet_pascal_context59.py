# ViT-Tiny, UperNet, full fine-tuning on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of vit-tiny_imagenet.py (none are published).
_base_ = './vit_upernet_pascal_context59.py'
model = _base_.by_size.tiny
