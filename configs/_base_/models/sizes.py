# The sizes of the paper's ViTs and where their LocAtViT lies. `arch` of LocAtViT knows what else a size has.
sizes = dict(
    tiny=dict(channels=192, num_heads=3, drop_path_rate=0.1, published='hf://sinahmr/locatvit_tiny'),
    small=dict(channels=384, num_heads=6, drop_path_rate=0.2),  # no weights are published
    base=dict(channels=768, num_heads=12, drop_path_rate=0.4, published='hf://sinahmr/locatvit_base'))
