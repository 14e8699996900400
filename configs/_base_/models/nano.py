# The backbones of the demo: small enough for a laptop. The ViT has 0.21 M parameters.
nano = dict(
    arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
    img_size=24,
    patch_size=4,
    drop_path_rate=0.)
# The siblings: the same channels, heads and stride where heads read them.
nano_rope = dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5, **nano)
nano_jumbo = dict(type='LocAtJumbo', num_cls_tokens=6, jumbo_mlp_ratio=4, **nano)
nano_swin = dict(
    _delete_=True,
    type='LocAtSwin',
    arch=dict(embed_dims=32, depths=(2, 2), num_heads=(1, 2)),
    img_size=24,
    patch_size=2,
    window_size=6,
    gaug=False)
# For StampScenes: 12 x 12 patches of a larger picture.
nano_stamps = dict(nano, img_size=96, patch_size=8)
