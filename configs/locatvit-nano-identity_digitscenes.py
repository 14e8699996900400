# Retrofit: the trained plain ViT of vit-nano-tuned_digitscenes.py becomes a LocAtViT that begins as what it was.
_base_ = './vit-nano-tuned_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, gaug_init='identity', out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
