# Ablation: PRR alone. The model is the plain ViT's, for PRR belongs to classification; the weights are those of
# locatvit-nano-prr_stampscenes.py.
_base_ = './vit-nano_linear_stampscenes.py'
