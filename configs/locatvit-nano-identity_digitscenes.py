# Retrofit: as vit-nano-tuned_digitscenes.py, but as a LocAtViT, which begins as the plain ViT that it was.
_base_ = './vit-nano-tuned_digitscenes.py'
model = dict(
    backbone=dict(gaug=True, gaug_init='identity', out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
# Alpha begins at softplus(-10), where its gradient vanishes: by the rate of the others it stays there.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.gaug.log_alpha.bias': dict(lr_mult=100., decay_mult=0.)}))
