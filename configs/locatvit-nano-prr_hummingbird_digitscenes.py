# Ablation: PRR alone. The model is the plain ViT's; the weights are those of locatvit-nano-prr_digitscenes.py.
_base_ = './vit-nano_hummingbird_digitscenes.py'
