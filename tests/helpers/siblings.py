"""The backbones of the family at nano size, for tests of what each of them must do."""

from mmpretrain.registry import MODELS

import mmlocat.models  # noqa: F401 - registers
from tests.conftest import NANO

# Layer scales are those of models that have learned: with the published start, 1e-5, the blocks hardly matter.
VIT = dict(arch=NANO, img_size=24, patch_size=4)
FAMILY = {
    'LocAtViT': dict(VIT, type='LocAtViT'),
    'RoPE': dict(VIT, type='LocAtViT', rope='mixed', with_pos_embed=False, num_registers=2, layer_scale_init_value=0.5),
    'LocAtJumbo': dict(VIT, type='LocAtJumbo', num_cls_tokens=3, jumbo_mlp_ratio=0.5, layer_scale_init_value=0.5),
    # Maps of 12 x 12 and 6 x 6 in windows of 4 x 4: both stages shift, the second pads.
    'LocAtSwin': dict(type='LocAtSwin', arch=dict(embed_dims=32, depths=(2, 2), num_heads=(2, 4)), img_size=24,
                      patch_size=2, window_size=4),
}
SIBLINGS = [name for name in FAMILY if name != 'LocAtViT']


def sibling(name, **options):
    """Returns a backbone of four blocks, whose last map of 24 px images has 64 channels and 6 x 6 places."""
    settings = {**FAMILY[name], **options}
    return MODELS.get(settings.pop('type'))(**settings)  # build() would look where a Runner before it was
