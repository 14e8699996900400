# ViT-Base with rotary position embedding, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of vit-rope_imagenet.py (none are published).
_base_ = './vit_linear_pascal_context59.py'
model = dict(backbone=dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5))
