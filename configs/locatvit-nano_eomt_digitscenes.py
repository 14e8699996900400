# The demo's LocAtViT with EoMT, fine-tuned whole.
_base_ = './vit-nano_eomt_digitscenes.py'
model = dict(backbone=dict(gaug=True))
