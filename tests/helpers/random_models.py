"""Models of configs with random weights that are not small, so that no part of a model goes unseen."""

import torch

from tests.conftest import ROOT


def random_model(config):
    """Returns the model of a config in evaluation mode; every matrix is drawn with deviation 0.1."""
    from mmlocat.models.building import build_model
    torch.manual_seed(1)
    model = build_model(config, 'cpu')
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    for name, buffer in model.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 1.5)
    return model


# Backbones for the nano configs in place of LocAtViT's, in which every kind of operation of theirs occurs: windows
# shifted, padded and not, between stages; class tokens that share an MLP; rotation. Layer scales are large, or the
# blocks would not be seen.
SIBLINGS = dict(
    swin=dict(type='LocAtSwin', arch=dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2)), window_size=4),
    swin_of_four_stages=dict(type='LocAtSwin', window_size=4,
                             arch=dict(embed_dims=8, depths=(1, 1, 1, 2), num_heads=(1, 1, 2, 2))),
    jumbo=dict(type='LocAtJumbo', num_cls_tokens=3, layer_scale_init_value=0.5,
               arch=dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)),
    rope=dict(type='LocAtViT', rope='mixed', with_pos_embed=False, layer_scale_init_value=0.5,
              arch=dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=64)))


def use_sibling(config, kind):
    """Puts one of ``SIBLINGS`` into the config of a nano LocAtViT, with what neck and head need for it."""
    segments = 'decode_head' in config.model
    channels = dict(swin=32, swin_of_four_stages=64, jumbo=32, rope=64)[kind]
    form = 'featmap' if segments or 'swin' in kind else 'raw'
    changes = dict(backbone=dict(SIBLINGS[kind], _delete_=True, img_size=24, patch_size=4, out_type=form,
                                 final_norm=not segments))
    if segments:
        changes['decode_head'] = dict(in_channels=channels)
    else:
        changes['neck'] = dict(jumbo=dict(num_cls_tokens=3), rope={}).get(kind, dict(out_type='avg_featmap'))
        changes['head'] = dict(in_channels=3 * channels if kind == 'jumbo' else channels)
    config.merge_from_dict(dict(model=changes))


class RandomCheckpoints:
    """Called with the name of a config, returns the config and a checkpoint of its model, made when first wanted.

    With one block, unless told otherwise: what exporters and compilers take is time for each operation.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name, layers=1, sibling=None):
        from mmengine.config import Config
        config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
        if sibling is not None:
            use_sibling(config, sibling)
        else:
            config.model.backbone.arch.num_layers = layers
            if config.model.backbone.get('frozen_stages', -1) > 0:
                config.model.backbone.frozen_stages = layers
        path = self.folder / f'{name}-{sibling or layers}.pth'
        if not path.exists():
            torch.save(dict(state_dict=random_model(config).state_dict(), meta={}), path)
        return config, str(path)
