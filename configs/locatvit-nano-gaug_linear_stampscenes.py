# Ablation: GAug alone. The model is LocAtViT's, for PRR belongs to classification; the weights are those of
# locatvit-nano-gaug_stampscenes.py.
_base_ = './locatvit-nano_linear_stampscenes.py'
