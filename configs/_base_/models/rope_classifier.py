# Plain ViT-Base with rotary position embedding (mixed frequencies) as a classifier: the baseline of the RoPE rows.
_base_ = './vit_classifier.py'
model = dict(
    backbone=dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5),
    head=dict(init_cfg=dict(std=2e-5)))  # a thousandth of the others'
