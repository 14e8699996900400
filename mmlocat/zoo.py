"""Finds the shipped configs and their published weights by name (the model zoo). It imports nothing heavy by itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Dict, Optional, Tuple

from mmlocat.utils import require_modules, share_folder, suggestion


def models() -> Dict[str, dict]:
    """Returns the entries of the model index by name, as its metafiles hold them.

    Raises:
        ImportError: PyYAML is not installed.
    """
    require_modules(('yaml', ), 'onedl', 'mmlocat.resolve')
    import yaml
    share = share_folder()
    found: Dict[str, dict] = {}
    for name in yaml.safe_load((share / 'model-index.yml').read_text(encoding='utf-8'))['Import']:
        content = yaml.safe_load((share / name).read_text(encoding='utf-8'))
        found.update((model['Name'], model) for model in content['Models'])
    return found


def resolve(name: str, weights: Optional[str] = None) -> Tuple[str, str]:
    """Returns config and checkpoint of a model, for ``MMSegInferencer(model=config, weights=checkpoint)``.

    Args:
        name: A shipped config's name, such as 'locatvit_linear_ade20k'.
        weights: Your own checkpoint; the published one by default.

    Returns:
        The config's path, and the checkpoint's file or address.

    Raises:
        ValueError: There is no such model, or it has no published weights and none are given.
        FileNotFoundError: ``weights`` does not exist.
    """
    index = models()
    if name not in index:
        raise ValueError(f'no model is named {name!r}{suggestion(name, index, 5) or "; configs/ lists them all"}')
    config = share_folder() / index[name]['Config']
    found = index[name].get('Weights') if weights is None else weights
    if found is None:
        raise ValueError(f'no weights are published for {name}: train it with tools/train.py {config}, and give '
                         f"the result: mmlocat.resolve({name!r}, weights='FILE')")
    if '://' not in found and not Path(found).is_file():
        raise FileNotFoundError(f'weights {found} do not exist')
    return str(config), found


def register_classifiers() -> None:
    """Registers this package's classifiers by name for MMPretrain's ``get_model`` and ``list_models``.

    A missing or broken zoo is logged, so that the import does not fail. MMPretrain cannot build segmentors.
    """
    from mmpretrain.apis import ModelHub
    try:
        share = share_folder()
        for metafile in sorted((share / 'configs' / 'metafiles').glob('*_classification.yml')):
            ModelHub.register_model_index(metafile, config_prefix=share)
    except Exception as error:  # a file may hold anything
        logging.getLogger('mmlocat').warning('the model zoo is not available to mmpretrain.get_model: %s', error)
