"""Finds configs by name: the shipped ones with their published weights (the model zoo), and those of the libraries.

It imports nothing heavy by itself.
"""

from __future__ import annotations

import logging
from importlib import metadata
from importlib.util import find_spec
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


def _with_size(name: str) -> Tuple[str, ...]:
    """Returns the names that a model has besides its own: of size Base, which names leave out."""
    family, _, rest = name.partition('_')
    return (f'{family}-base_{rest}', ) if rest and family in ('vit', 'locatvit') and 'digitscenes' not in rest else ()


def find_model(name: str) -> Tuple[str, Optional[str]]:
    """Returns the config's path of a model, and its published weights, None if there are none.

    Args:
        name: A shipped config's name, such as 'locatvit_linear_ade20k', or 'locatvit-base_linear_ade20k'.

    Raises:
        ValueError: There is no such model.
    """
    index = models()
    name = next((own for own in index if name in _with_size(own)), name)
    if name not in index:
        raise ValueError(f'no model is named {name!r}{suggestion(name, index, 5) or "; configs/ lists them all"}')
    return str(share_folder() / index[name]['Config']), index[name].get('Weights')


def resolve(name: str, weights: Optional[str] = None) -> Tuple[str, str]:
    """Returns config and checkpoint of a model, for ``MMSegInferencer(model=config, weights=checkpoint)``.

    Args:
        name: See ``find_model``.
        weights: Your own checkpoint; the published one by default.

    Returns:
        The config's path, and the checkpoint's file or address.

    Raises:
        ValueError: There is no such model, or it has no published weights and none are given.
        FileNotFoundError: ``weights`` does not exist.
    """
    config, published = find_model(name)
    found = published if weights is None else weights
    if found is None:
        raise ValueError(f'no weights are published for {name}: train it with tools/train.py {config}, and give '
                         f"the result: mmlocat.resolve({name!r}, weights='FILE')")
    if '://' not in found and not Path(found).is_file():
        raise FileNotFoundError(f'weights {found} do not exist')
    return config, found


def register_classifiers() -> None:
    """Registers this package's classifiers by name for MMPretrain's ``get_model`` and ``list_models``.

    A missing or broken zoo is logged, so that the import does not fail. MMPretrain cannot build segmentors.
    """
    from mmpretrain.apis import ModelHub
    try:
        share = share_folder()
        for metafile in sorted((share / 'configs' / 'metafiles').glob('*_classification.yml')):
            ModelHub.register_model_index(metafile, config_prefix=share)
        # A private attribute of MMPretrain 1.2.0 to 1.3.6, which has no other way to two names for one model.
        own = {name: model for name, model in ModelHub._models_dict.items()
               if Path(model.filepath).parent == share / 'configs' / 'metafiles'}
        ModelHub._models_dict.update((alias, model) for name, model in own.items() for alias in _with_size(name))
    except Exception as error:  # a file may hold anything
        logging.getLogger('mmlocat').warning('the model zoo is not available to mmpretrain.get_model: %s', error)


def find_installed_libraries() -> None:
    """Makes 'mmseg::...' and 'mmpretrain::...' name configs of the installed libraries, and installs nothing ever.

    A fault of MMEngine (upstream 0.10.3 to 0.10.7, OneDL 0.10.8 to 0.10.12): it looks for MMSegmentation by the name of
    upstream's distribution, which the OneDL builds do not have. Inheritance then fails, and ``mmengine.hub`` runs pip,
    which would put upstream's release over the installed one. MMEngine finds a library by its module's name too; once
    it does so by itself, the loop can go. ``load_config`` and ``import mmlocat.models`` call this; it may be repeated.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.hub import hub
    for module in ('mmpretrain', 'mmseg'):
        try:
            metadata.version(MODULE2PACKAGE[module])
        except metadata.PackageNotFoundError:
            if find_spec(module) is not None:  # else the name is what to install
                MODULE2PACKAGE[module] = module
    hub.install_package = _require_package


def _require_package(package: str) -> None:
    """Stands for MMEngine's function that installs a missing package: refuses instead.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    from mmengine.utils import is_installed
    if not is_installed(package):
        raise ModuleNotFoundError(f'{package}, whose config is asked for, is not installed, and nothing is installed '
                                  f'unasked; if you want it: pip install {package}')
