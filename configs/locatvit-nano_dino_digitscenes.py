# The demo's LocAtViT, pretrained by DINO on DigitScenes.
_base_ = './vit-nano_dino_digitscenes.py'
model = dict(backbone=dict(gaug=True, out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
