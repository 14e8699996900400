# Retrofit: as vit-nano-tuned_digitscenes.py, but as a LocAtViT, which begins as the plain ViT that it was.
_base_ = './vit-nano-tuned_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, gaug_init='identity', out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
