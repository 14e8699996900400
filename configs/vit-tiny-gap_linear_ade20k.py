# Ablation: ViT-Tiny + GAP: the mean over patches instead of the class token.
# The mean belongs to the classifier: here it is the plain backbone, with other weights.
# Weights: --cfg-options checkpoint=FILE, the result of vit-tiny-gap_imagenet.py (none are published).
_base_ = './vit-tiny_linear_ade20k.py'
