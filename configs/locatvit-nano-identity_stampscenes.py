# Retrofit: as vit-nano-tuned_stampscenes.py, but as a LocAtViT. Its backbone begins as the plain ViT's; PRR, before the
# head that is kept, does not begin as what the head was trained on.
_base_ = './vit-nano-tuned_stampscenes.py'
model = dict(
    backbone=dict(gaug=True, gaug_init='identity', out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
# Adam moves a weight by at most about the sum of its rates. By the rate of the others, alpha's bias would not come far
# from -10, where alpha is next to nothing.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.gaug.log_alpha.bias': dict(lr_mult=100., decay_mult=0.)}))
