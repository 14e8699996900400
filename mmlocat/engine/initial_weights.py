"""Initial weights are a parameter of a recipe, and are checked before training starts."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from mmengine.config import Config


def set_initial_checkpoint(config: Config) -> None:
    """Hands the variable ``checkpoint`` of a config, whoever set it last, to the backbone.

    A leaf's own ``init_cfg`` has only the value that the leaf was written with.

    Args:
        config: The config to change in place; one without the variable is left alone.
    """
    if 'checkpoint' in config:
        checkpoint = config.checkpoint
        config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint) if checkpoint else None


def initial_checkpoint(config: Config) -> Optional[str]:
    """Returns the file or address that the backbone starts from, or None."""
    backbone = config.get('model', {}).get('backbone') or {}
    init = backbone.get('init_cfg') or []
    for entry in [init] if isinstance(init, dict) else init:
        if str(entry.get('type')) == 'Pretrained' and entry.get('checkpoint'):
            return entry['checkpoint']
    return config.get('model', {}).get('pretrained') or config.get('load_from')


def check_initial_weights(config: Config, allow_random_backbone: bool = False) -> List[str]:
    """Makes sure that what a recipe starts from is there.

    Args:
        config: A training config.
        allow_random_backbone: Whether a frozen backbone may keep its random weights.

    Returns:
        Remarks for the user.

    Raises:
        RuntimeError: A frozen backbone has no weights to start from, or they cannot be read yet.
        FileNotFoundError: The file does not exist.
    """
    source = initial_checkpoint(config)
    backbone = config.get('model', {}).get('backbone') or {}
    if source is None:
        if backbone.get('frozen_stages', -1) > 0:
            if not allow_random_backbone:
                raise RuntimeError('the backbone is frozen and has no weights: give them with '
                                   '--cfg-options checkpoint=FILE (the result of a *_imagenet.py config), or pass '
                                   '--allow-random-backbone if random features are what you want')
            return ['The frozen backbone keeps random weights (--allow-random-backbone).']
        if 'checkpoint' in config:
            return ['The backbone starts from random weights; --cfg-options checkpoint=FILE gives it others.']
        return []
    if source.startswith('hf://'):
        raise RuntimeError(f'{source} cannot be read by this version yet: download model.safetensors from that hub '
                           'repository, turn it into a .pth with safetensors.torch.load_file and torch.save, and give '
                           'it with --cfg-options checkpoint=FILE')
    if '://' not in source and not Path(source).is_file():
        raise FileNotFoundError(f'initial weights {source} do not exist; give another file with '
                                '--cfg-options checkpoint=FILE')
    return [f'The backbone starts from {source}.']
