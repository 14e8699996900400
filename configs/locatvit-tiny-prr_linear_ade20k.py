# Ablation: PRR alone, on a plain Tiny.
# PRR belongs to the classifier: here it is the plain backbone, with other weights.
# Weights: --cfg-options checkpoint=FILE, the result of locatvit-tiny-prr_imagenet.py (none are published).
_base_ = './vit-tiny_linear_ade20k.py'
