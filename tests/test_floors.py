"""The floors of the package: arrows of imports point down only, whether at the top of a file or inside a function."""

import ast
import re

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / 'mmlocat'
# From the ground up. Each may import what stands before it, and nothing else of mmlocat. ``mmlocat/README.md`` shows
# the same list.
FLOORS = {
    'ground': ['utils'],
    'attention': ['checkpoints', 'attention'],
    'plugin': ['zoo', 'config', 'datasets', 'engine', 'models', 'evaluation'],
    'trainer': ['launch', 'training'],
    'lab': ['analysis', 'benchmark', 'deploy', 'visualization', 'experiments', '__main__'],
}
ORDER = [folder for folders in FLOORS.values() for folder in folders]
LIBRARIES = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')
# What the trainer's and the lab's own work needs beside PyTorch and OpenMMLab's packages.
LAB_ONLY = ('matplotlib', 'gradio', 'sklearn', 'onnx', 'onnxruntime', 'onnxscript', 'rich', 'tensorboard', 'pandas')


def part_of(module):
    """Returns the folder, or the file, right below mmlocat that a module belongs to; None for the package itself."""
    return module.split('.')[1] if '.' in module else None


def imports(path):
    """Yields every module that a file imports, by any way: ``import``, ``from``, lazily, or ``import_module``."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[:len(package) - node.level + 1]) if node.level else ''
            module = '.'.join(filter(None, (base, node.module)))
            # ``from mmlocat import zoo`` names a module by its last part.
            yield from (f'{module}.{alias.name}' for alias in node.names) if module == 'mmlocat' else (module, )
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            if called in ('import_module', '__import__') and isinstance(node.args[0].value, str):
                yield node.args[0].value


FILES = sorted(PACKAGE.rglob('*.py'))


def test_every_folder_stands_on_a_floor():
    parts = {path.relative_to(PACKAGE).parts[0].replace('.py', '') for path in FILES} - {'__init__'}
    assert parts == set(ORDER)


@pytest.mark.parametrize('part', ORDER)
def test_arrows_point_down(part):
    below = set(ORDER[:ORDER.index(part)])
    wrong = []
    for path in FILES:
        relative = path.relative_to(PACKAGE).parts
        if relative[0].replace('.py', '') != part:
            continue
        for module in imports(path):
            other = part_of(module) if module.split('.')[0] == 'mmlocat' else None
            if other in ORDER and other != part and other not in below:
                wrong.append(f'{path.relative_to(ROOT)} imports {module}')
    assert not wrong, '\n'.join(wrong)


def test_attention_needs_pytorch_alone():
    for path in (path for folder in FLOORS['attention'] for path in (PACKAGE / folder).rglob('*.py')):
        assert not {module.split('.')[0] for module in imports(path)} & {*LIBRARIES, *LAB_ONLY}, path


def test_the_map_is_the_list():
    text = (PACKAGE / 'README.md').read_text(encoding='utf-8')
    shown = re.findall(r'^\| \*\*(\w+)\*\* \| (.+?) \|', text, re.MULTILINE)
    assert {floor: re.findall(r'`(\w+)(?:/|\.py)`', folders) for floor, folders in shown} == FLOORS


def test_a_relative_and_a_lazy_import_are_seen(tmp_path, monkeypatch):
    folder = tmp_path / 'mmlocat' / 'attention'
    folder.mkdir(parents=True)
    (folder / 'a.py').write_text('from ..models import x\nfrom mmlocat import zoo\n\n\ndef f():\n'
                                 '    import mmlocat.training.runner\n    import_module("mmlocat.deploy")\n')
    monkeypatch.setattr('tests.test_floors.ROOT', tmp_path)
    assert [part_of(module) for module in imports(folder / 'a.py')] == ['models', 'zoo', 'training', 'deploy']
