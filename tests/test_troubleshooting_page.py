"""docs/troubleshooting.md: every message that it quotes is one that the code gives, so that none of them can rot."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / 'docs' / 'troubleshooting.md').read_text(encoding='utf-8')
# What the libraries below say, and the file that says it; None where compiled code, Python or the system does.
LIBRARIES = {
    'MMCV==... is used but incompatible. Please install mmcv': 'mmpretrain/__init__.py',
    "No module named 'mmcv._ext'": None,
    'operator torchvision::nms does not exist': None,
    'A module that was compiled using NumPy 1.x cannot be run in': None,
    "No module named 'pkg_resources'": None,
    'libGL.so.1: cannot open shared object file': None,
    'registry. Please check whether the value of': 'mmengine/registry/build_functions.py',
    'Failed to search registry with scope': 'mmengine/registry/registry.py',
    'Weights only load failed': 'torch/serialization.py',
    'size mismatch for ...: copying a param with shape': 'torch/nn/modules/module.py',
    'The model and loaded state dict do not match exactly': 'mmengine/runner/checkpoint.py',
    'CUDA error: device-side assert triggered': None,
    'DataLoader worker (pid(s) ...) exited unexpectedly': 'torch/utils/data/dataloader.py',
    'Torch not compiled with CUDA enabled': 'torch/cuda/__init__.py',
    'Address already in use': None,
    'Expected more than 1 value per channel when training': 'torch/nn/functional.py',
    'SyncBatchNorm expected input tensor to be on GPU': 'torch/nn/modules/batchnorm.py',
    'CUDA out of memory': None,
    'Expected to have finished reduction in the prior iteration': None,
    'does not have a deterministic implementation': None,
}


def quotes():
    """Returns the messages in the first column of the page's tables; a row may have two, with "or" between them."""
    cells = re.findall(r'^\| (`.+?`) \| ', PAGE, re.MULTILINE)
    return [quote for cell in cells for quote in re.findall(r'`([^`]+)`', cell)]


def as_shown(node):
    """Returns the text of an expression of strings, with ``...`` for every value that is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace('{}', '...')  # of str.format
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(as_shown, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return as_shown(node.left) + as_shown(node.right)
    return '...'


def texts(path):
    """Returns all strings of a Python file but its docstrings, one a line."""
    tree = ast.parse(Path(path).read_text(encoding='utf-8'))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {node.body[0].value for node in ast.walk(tree) if isinstance(node, documented) and node.body
                  and isinstance(node.body[0], ast.Expr)}
    return '\n'.join(as_shown(node) for node in ast.walk(tree) if node not in docstrings
                     and isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)))


@pytest.fixture(scope='module')
def ours():
    files = (path for folder in ('mmlocat', 'tools', 'demo') for path in (ROOT / folder).rglob('*.py'))
    return '\n'.join(map(texts, sorted(files)))


def test_strings_are_read_as_a_user_sees_them(tmp_path):
    """Values become dots, strings in a row are one, docstrings are no messages."""
    path = tmp_path / 'code.py'
    path.write_text('def call(name):\n    "no message"\n'
                    '    raise ValueError(f"no {name!r} "\n        "here" + hint(name))\n')
    assert 'no ... here...' in texts(path) and 'no message' not in texts(path)


def test_every_quoted_message_is_one_of_the_code(ours):
    found = quotes()
    assert len(found) > 60 and len(found) == len(set(found)) and set(LIBRARIES) <= set(found)
    gone = [quote for quote in found if quote not in LIBRARIES and quote not in ours]
    assert not gone, f'no code says {gone}; quote what it says today, or take the rows away'
    assert min(len(quote.replace('...', '')) for quote in found) >= 8  # shorter ones would be found anywhere


@pytest.mark.parametrize('quote', [quote for quote, file in LIBRARIES.items() if file])
def test_messages_of_libraries_are_theirs(quote):
    library = importlib.util.find_spec(LIBRARIES[quote].split('/')[0])
    if library is None:
        pytest.skip(f'{LIBRARIES[quote]} is not installed')
    assert quote in texts(Path(library.origin).parent.parent / LIBRARIES[quote])


def test_rows_say_what_it_means_and_what_to_do():
    rows = [line for line in PAGE.splitlines() if line.startswith('| ') and not line.startswith(('| I see', '| ---'))]
    for row in rows:
        cells = [cell.strip() for cell in row.strip('|').split(' | ')]
        assert len(cells) == 3 and all(cells), row
    assert not re.search(r'^\|.*\n\n\|', PAGE, re.MULTILINE)  # a blank line ends a table
