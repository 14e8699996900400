"""What all tests share: golden data, small models, a small DigitScenes."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest_plugins = ['figures']

# Processes of a test must not fight over cores with the rest of the suite; a worker of pytest-xdist has one to itself.
os.environ.setdefault('OMP_NUM_THREADS', '1' if 'PYTEST_XDIST_WORKER' in os.environ else '2')
torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
# Without a GPU the Triton kernels run in Triton's interpreter, in this process and those that tests start.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / 'tests' / 'data' / 'golden'
NANO = dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256)


def load_golden(name):
    """Returns the tensors of a golden case and its description."""
    from safetensors import safe_open
    with safe_open(str(GOLDEN / f'{name}.safetensors'), 'pt') as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        case = json.loads(file.metadata()['case'])
    return SimpleNamespace(tensors=tensors, **case)


def golden_names(prefix):
    names = sorted(path.stem for path in GOLDEN.glob(f'{prefix}*.safetensors'))
    assert names, f'no golden case {prefix}* in {GOLDEN}'
    return names


def assert_close(actual, expected, tolerance):
    """Compares within tolerance * max(1, largest |expected|), as the golden README states."""
    assert actual.shape == expected.shape
    largest = max(1.0, expected.abs().max().item())
    difference = (actual - expected).abs().max().item()
    assert difference <= tolerance * largest, f'off by {difference:.3g}, allowed {tolerance * largest:.3g}'


def runs_here(backend, query):
    """Tells whether an attention back-end has gradients; skips the test where it cannot run at all."""
    from mmlocat.attention.choice import unable
    if backend == 'auto':
        return True
    reason = unable(backend, query, False)
    if reason:
        pytest.skip(reason)
    return unable(backend, query, True) is None


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def digit_scenes(tmp_path_factory):
    """A DigitScenes of 160 / 32 / 32 images and 32 / 8 / 9 scenes."""
    from mmlocat.datasets.digit_scenes import DigitScenesSpec, prepare_digit_scenes
    root = tmp_path_factory.mktemp('data') / 'digit_scenes'
    return prepare_digit_scenes(
        root, DigitScenesSpec(classification=(160, 32, 32), segmentation=(32, 8, 9)), progress=False)


def child_environment():
    """Returns the environment of a child process: this checkout importable, no launcher's variables."""
    launchers = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'PORT', 'NNODES', 'NODE_RANK')
    environment = {name: value for name, value in os.environ.items() if name not in launchers}
    return dict(environment, PYTHON=sys.executable, PYTHONWARNINGS='ignore', PYTHONPATH=str(ROOT))


@pytest.fixture
def clean_environment():
    return child_environment()
