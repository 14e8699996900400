# The backbone of the demo: small enough for a laptop, 0.21 M parameters.
nano = dict(
    arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
    img_size=24,
    patch_size=4,
    drop_path_rate=0.)
