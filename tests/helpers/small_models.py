"""Models of shipped configs at small widths: their parts, depth, losses and what is frozen stay."""

# Fewer channels: 192, 384, 768 and 1024 of the backbones, six times as many of Jumbo's, 512 and 256 of the heads.
SMALLER = {192: 24, 384: 24, 768: 24, 1024: 24, 6 * 192: 6 * 24, 6 * 768: 6 * 24, 512: 16, 256: 16}
ALIKE = dict(num_heads=2, num_classes=11)  # they change sizes alone


def shrink(node):
    """Returns a model's config with small widths; its parts, depth, losses and what is frozen stay."""
    if isinstance(node, dict):
        small = {key: ALIKE.get(key, shrink(value)) for key, value in node.items()}
        if node.get('type') == 'LocAtSwin':
            whole = dict(embed_dims=3, depths=(2, 1, 1, 1), num_heads=(1, 1, 2, 2))
            small['arch'] = whole if isinstance(node['arch'], str) else node['arch']  # the demo's is small as it is
        elif str(node.get('type')).startswith('LocAt') and isinstance(node['arch'], str):
            small['arch'] = dict(embed_dims=24, num_layers=12, num_heads=2, feedforward_channels=24)
        return small
    if isinstance(node, (list, tuple)):
        return [shrink(value) for value in node]
    return SMALLER.get(node, node) if isinstance(node, int) and not isinstance(node, bool) else node
