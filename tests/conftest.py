"""What all tests share: golden data, small models, a small DigitScenes."""

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

# PyTorch looks for it once, at the first product on a GPU, and refuses deterministic ones without it.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
# Convolutions of GPUs take TF32 by default, with three digits; tests compare with what CPUs compute in float32.
os.environ.setdefault('NVIDIA_TF32_OVERRIDE', '0')

import pytest  # noqa: E402
import torch  # noqa: E402

pytest_plugins = ['tests.helpers.figures', 'tests.helpers.missing']

# Processes of a test must not fight over cores with the rest of the suite; a worker of pytest-xdist has one to itself.
os.environ.setdefault('OMP_NUM_THREADS', '1' if 'PYTEST_XDIST_WORKER' in os.environ else '2')
torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
# Without a GPU the Triton kernels run in Triton's interpreter, in this process and those that tests start.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / 'tests' / 'data' / 'golden'
NANO = dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256)


def device_of(backend):
    """Returns where an attention back-end is tested: Triton's on the GPU if there is one, the others on the CPU."""
    return 'cuda' if backend == 'triton' and torch.cuda.is_available() else 'cpu'


def load_golden(name, device='cpu'):
    """Returns the tensors of a golden case and its description."""
    from safetensors import safe_open
    with safe_open(str(GOLDEN / f'{name}.safetensors'), 'pt', device=device) as file:
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
    from mmlocat.attention.backends import unable
    if backend == 'auto':
        return True
    reason = unable(backend, query, False)
    if reason:
        pytest.skip(reason)
    return unable(backend, query, True) is None


def skip_without_deterministic_resizing():
    """Skips the deterministic training of a segmentor on a GPU where PyTorch is too old for it: 2.1 is, 2.4 is not."""
    code = torch.nn.functional.interpolate.__code__
    if torch.cuda.is_available() and 'are_deterministic_algorithms_enabled' not in code.co_names:
        pytest.skip(f'PyTorch {torch.__version__} has no deterministic gradient of bilinear resizing on CUDA')


@pytest.fixture(autouse=True)
def _defaults():
    """Every test begins with one seed, and leaves what a training may have set for its whole process as it is anew."""
    torch.manual_seed(0)
    yield
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False


class _Seconds:
    """A clock for mmengine, whose Runners name logs and default scopes by the second: it says none of them twice."""

    last = 0
    localtime, strftime = time.localtime, time.strftime

    def time(self):
        self.last = max(time.time(), self.last + 1)
        return self.last


def spare_runners():
    """Spares Runners what takes longer than all else in a short training, and shows nothing.

    mmengine has yapf format the same config five times, asks compilers for their versions, looks through all of
    Python's objects for garbage whenever it builds a data set, and rests for two seconds between epochs.
    """
    if 'mmengine.runner.runner' in sys.modules:
        import mmengine._strategy.base as strategy
        import mmengine.config.config as config
        import mmengine.dataset.base_dataset as base_dataset
        import mmengine.runner._flexible_runner as flexible
        import mmengine.runner.loops as loops
        import mmengine.runner.runner as plain
        import yapf.yapflib.yapf_api as yapf
        # Some releases of mmengine import it when they are imported, some when they use it.
        yapf.FormatCode = config.FormatCode = lambda text, **options: (text, False)
        plain.collect_env = flexible.collect_env = dict
        plain.time = strategy.time = _Seconds()
        base_dataset.gc = SimpleNamespace(collect=int)
        loops.time = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100))


@pytest.fixture(scope='session', autouse=True)
def _quick_runners():
    spare_runners()


@contextmanager
def hidden_gpus():
    """Processes that are started in here have no GPU, even where this one has."""
    before = os.environ.get('CUDA_VISIBLE_DEVICES')
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    try:
        yield
    finally:
        del os.environ['CUDA_VISIBLE_DEVICES']
        if before is not None:
            os.environ['CUDA_VISIBLE_DEVICES'] = before


@pytest.fixture
def fresh_graphs():
    """Has torch.compile forget what it compiled, before and after a test."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope='session')
def digit_scenes(tmp_path_factory):
    """A DigitScenes of 160 / 32 / 32 images and 32 / 8 / 9 scenes."""
    from mmlocat.datasets.digit_scenes import DigitScenesSpec, prepare_digit_scenes
    root = tmp_path_factory.mktemp('data') / 'digit_scenes'
    return prepare_digit_scenes(
        root, DigitScenesSpec(classification=(160, 32, 32), segmentation=(32, 8, 9)), progress=False)


def child_environment():
    """Returns the environment of a child process: this checkout importable, no variables of a launcher or of make."""
    launchers = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'PORT', 'NNODES', 'NODE_RANK',
                 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'ARGS')
    environment = {name: value for name, value in os.environ.items() if name not in launchers}
    return dict(environment, PYTHON=sys.executable, PYTHONWARNINGS='ignore', PYTHONPATH=str(ROOT))


@pytest.fixture
def clean_environment():
    return child_environment()


@pytest.fixture
def cpu_environment():
    """The same for what a GPU must not touch: several processes, which NCCL refuses on one, or words about CPUs."""
    return dict(child_environment(), CUDA_VISIBLE_DEVICES='')
