"""The mathematics needs torch alone, and `import mmlocat` not even that."""

import subprocess
import sys

BLOCK = '''
import sys
for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision'):
    sys.modules[name] = None  # importing it now raises ImportError
'''


def run(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_attention_imports_with_openmmlab_blocked():
    result = run(BLOCK + '''
import torch
compiler = 'torch._dynamo' in sys.modules
from mmlocat.attention import GaussianKernel, gaussian_attention, refine_patches
assert ('torch._dynamo' in sys.modules) == compiler  # it takes a second
q = torch.randn(1, 2, 5, 8)
out = gaussian_attention(q, q, q, torch.ones(1, 2, 4, 2), torch.ones(1, 2, 4, 1), kernel=GaussianKernel(2), grid=2,
                         num_prefix_tokens=1)
assert out.shape == q.shape
print('fine')
''')
    assert result.stdout.strip() == 'fine', result.stderr


def test_import_mmlocat_is_light():
    result = run("import sys, warnings; filters = list(warnings.filters); import mmlocat, mmlocat.utils; "
                 "print('torch' in sys.modules, 'mmengine' in sys.modules, warnings.filters == filters)")
    assert result.stdout.split() == ['False', 'False', 'True'], result.stderr


def test_the_models_do_without_those_of_mmseg():
    """MMSegmentation 1.2 cannot import them with an mmcv without compiled operators; EoMT asks for them by itself."""
    result = run("import sys, mmlocat.models; print('mmseg.models' in sys.modules)")
    assert result.stdout.split() == ['False'], result.stderr


def test_a_missing_package_names_the_extra():
    for module in ('mmlocat.models', 'mmlocat.datasets'):
        result = run(BLOCK + f'import {module}')
        assert result.returncode != 0
        assert f'ImportError: {module} needs mmengine' in result.stderr
        assert 'pip install "mmlocat[onedl]"' in result.stderr and 'mmlocat[openmmlab]' in result.stderr
