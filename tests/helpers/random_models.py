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


class RandomCheckpoints:
    """Called with the name of a config, returns the config and a checkpoint of its model, made when first wanted.

    With one block, unless told otherwise: what exporters and compilers take is time for each operation.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name, layers=1):
        from mmengine.config import Config
        config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
        config.model.backbone.arch.num_layers = layers
        if config.model.backbone.get('frozen_stages', -1) > 0:
            config.model.backbone.frozen_stages = layers
        path = self.folder / f'{name}-{layers}.pth'
        if not path.exists():
            torch.save(dict(state_dict=random_model(config).state_dict(), meta={}), path)
        return config, str(path)
