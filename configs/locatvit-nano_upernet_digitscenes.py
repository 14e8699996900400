# The demo's LocAtViT with UperNet, fine-tuned whole.
_base_ = './vit-nano_upernet_digitscenes.py'
model = dict(backbone=dict(gaug=True))
