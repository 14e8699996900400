"""Configs that MMPretrain and MMSegmentation ship."""

import importlib
from pathlib import Path

import pytest
from mmengine.config import Config


def stock_config(name):
    """Reads one by its library and path, such as 'mmseg/fcn/x.py'; skips the test where this build has none."""
    library, path = name.split('/', 1)
    file = Path(importlib.import_module(library).__file__).parent / '.mim' / 'configs' / path
    if not file.is_file():
        pytest.skip(f'this build of {library} has no {path}')
    return Config.fromfile(file)
