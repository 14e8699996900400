"""Configs of the installed libraries by ``mmseg::`` and ``mmpretrain::``, under both families; nothing is installed."""

from pathlib import Path

import mmpretrain
import mmseg
import pytest
from mmengine import hub
from mmengine.config import Config
from mmengine.utils import package_utils

import mmlocat.models  # noqa: F401  what makes them found
from mmlocat.config import load_config

FILES = {
    'mmseg': (mmseg, '_base_/models/upernet_vit-b16_ln_mln.py',
              'vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512.py'),
    'mmpretrain': (mmpretrain, '_base_/models/vit-base-p16.py', 'vision_transformer/vit-base-p16_32xb128-mae_in1k.py'),
}


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    """Nothing is installed, whatever happens: commands are recorded instead of run."""
    found = []
    monkeypatch.setattr(package_utils, 'call_command', found.append)
    yield found
    assert found == []


@pytest.mark.parametrize('scope', FILES)
@pytest.mark.parametrize('read', [Config.fromfile, lambda path: load_config(str(path))], ids=['MMEngine', 'our tools'])
def test_inheritance(scope, read, tmp_path):
    library, part, _ = FILES[scope]
    (tmp_path / 'mine.py').write_text(f"_base_ = '{scope}::{part}'\nmodel = dict(backbone=dict(drop_path_rate=0.3))\n")
    expected = Config.fromfile(Path(library.__file__).parent / '.mim' / 'configs' / part).model
    found = read(tmp_path / 'mine.py').model
    assert found.backbone.pop('drop_path_rate') == 0.3
    expected.backbone.pop('drop_path_rate', None)
    assert found.backbone.to_dict() == expected.backbone.to_dict() and found.type == expected.type


@pytest.mark.parametrize('scope', FILES)
def test_look_ups(scope):
    library, _, leaf = FILES[scope]
    expected = Config.fromfile(Path(library.__file__).parent / '.mim' / 'configs' / leaf)
    assert hub.get_config(f'{scope}::{leaf}').model.to_dict() == expected.model.to_dict()


def test_a_library_that_is_not_here_is_not_installed():
    with pytest.raises(ModuleNotFoundError, match='mmdet3d, .*nothing is installed unasked.*pip install mmdet3d'):
        hub.get_config('mmdet3d::pointpillars/a.py')
