# ViT-Small, UperNet, full fine-tuning on COCO-Stuff.
# Weights: --cfg-options checkpoint=FILE, the result of vit-small_imagenet.py (none are published).
_base_ = './vit_upernet_coco_stuff164k.py'
model = _base_.by_size.small
