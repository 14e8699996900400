# The demo's ViT with rotary position embedding as a classifier on DigitScenes.
_base_ = './vit-nano_digitscenes.py'
model = dict(backbone=_base_.nano_rope, head=dict(init_cfg=dict(std=2e-5)))  # a thousandth of the others'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.rope.freqs': dict(decay_mult=0.)}))
