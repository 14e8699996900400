"""The one way from a config, and weights, to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Tuple, Union

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmlocat.checkpoints import read_checkpoint
from mmlocat.config import load_config


def build_model(config: Config, device: str = 'cpu') -> nn.Module:
    """Builds the model of a config in evaluation mode, without loading weights.

    Args:
        config: Of MMPretrain or MMSegmentation; left as it is.
        device: 'meta' gives shapes without memory.

    Returns:
        The model, with its data preprocessor.
    """
    init_default_scope(config.get('default_scope', 'mmengine'))
    settings = ConfigDict(config.to_dict()['model'])  # whose entries are attributes too, as segmentors ask for them
    if settings.get('backbone'):
        settings['backbone'] = {**settings['backbone'], 'init_cfg': None}
    settings.pop('pretrained', None)
    if config.get('data_preprocessor') and 'data_preprocessor' not in settings:  # as mmengine's Runner does
        settings['data_preprocessor'] = config.to_dict()['data_preprocessor']
    with torch.device(device):
        model = MODELS.build(settings)
    model.eval()  # which returns None for some models of MMPretrain
    return model.to(device)


def load_model(config: Union[str, Path, Config], checkpoint: Union[str, Path], device: str = 'cpu', *,
               trust_pickle: bool = False) -> nn.Module:
    """Builds a model and gives it the weights of a checkpoint, all of which must fit.

    Args:
        config: Of MMPretrain or MMSegmentation, or its file.
        checkpoint: Weights of the whole model, as ``read_checkpoint`` takes them; opened once.
        device: Such as 'cpu' or 'cuda:0'.
        trust_pickle: Whether the checkpoint may hold anything; it can run code.

    Returns:
        The model in evaluation mode, with ``cfg``, and ``dataset_meta`` where the checkpoint has one; its attribute
        ``checkpoint_meta`` is what the checkpoint says about itself.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: The config cannot be read.
        RuntimeError: The checkpoint cannot be read, or is of another model.
    """
    settings = config if isinstance(config, Config) else load_config(str(config))
    read = read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    model = build_model(settings)
    check_weights(model, read.state_dict, read.source)
    model.load_state_dict(read.state_dict, strict=False)
    model.cfg, model.checkpoint_meta = settings, read.meta
    if read.meta.get('dataset_meta'):
        model.dataset_meta = read.meta['dataset_meta']
    return model.to(device)


def check_weights(model: nn.Module, state_dict: Dict[str, Tensor], source: Any) -> None:
    """Makes sure that a checkpoint is one of the whole model; mmengine would only log what does not match.

    Args:
        model: The model, with any weights.
        state_dict: What was read.
        source: Its name, for the message.

    Raises:
        RuntimeError: It lacks weights of the model, or has them in another shape.
    """
    own = model.state_dict()
    wrong = [name for name, value in own.items() if name not in state_dict
             or (state_dict[name].shape != value.shape and not name.endswith('pos_embed'))]
    unused = [name for name in state_dict if name not in own and '.attn.gaug.' in name]
    if wrong or unused:
        names = wrong or unused
        problem = 'are missing or have another shape' if wrong else 'are in the checkpoint alone'
        raise RuntimeError(f'{source} does not fit the model of this config: {len(names)} weights {problem} '
                           f'({", ".join(names[:3])}{" ..." if len(names) > 3 else ""}); is it of another config?')


def input_shape(config: Config) -> Tuple[int, int]:
    """Returns (height, width) of a config's training images in px: its crop, or the size of pretraining."""
    size = ((config.get('model') or {}).get('data_preprocessor') or {}).get('size')
    size = size or (config.get('model') or {}).get('backbone', {}).get('img_size', 224)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
