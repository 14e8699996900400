# Ablation: GAug alone. The model is LocAtViT's; the weights are those of locatvit-nano-gaug_digitscenes.py.
_base_ = './locatvit-nano_hummingbird_digitscenes.py'
