"""Every configuration of the Triton kernels compiled for sm_80 and sm_90 without a GPU: it fits and spills nothing."""

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch

from mmlocat.attention.triton_backend import _installed
from mmlocat.attention.triton_backend.configurations import ON_HOPPER, TILES, padded_head
from tests.conftest import ROOT

TRITON = _installed('triton')
pytestmark = [
    pytest.mark.skipif(TRITON is None or TRITON < (3, 4), reason=f'Triton 3.4 can be called so, this is {TRITON}'),
    pytest.mark.skipif(not sys.platform.startswith('linux'), reason="Triton's assembler is for Linux"),
]
# What a block may have of shared memory. The tiles of sm_80 serve every GPU but Hopper, of which some have 99 KiB.
SHARED = {80: 99 << 10, 90: 227 << 10}
# Bytes of registers a thread may spill, where a measurement showed it faster so: on an H200 (bfloat16, 12 heads of 64,
# batch 8, grids 32 and 64) the best of four candidates each was, for 'forward', at most 128 registers, which lets four
# blocks share an SM, and for 'queries' 168, which lets three.
# Compilers before 3.8, with which the tiles were chosen, spill elsewhere too, most of it in exact float32 with a bias
# and 128 channels; there, all else is checked.
CHECKS_SPILLS = TRITON is not None and TRITON >= (3, 8)
MEASURED = {('forward', 90, 64): 64, ('queries', 90, 64): 640}
GENERIC, NARROW, MIDDLE, WIDE, SMALL = (40, 5), (20, 7), (20, 14), (20, 32), (9, 14)
VARIANTS = [dict(), dict(gate=True), dict(given=True), dict(bias=True, gate=True)]


def case(dtype, dims, grid, prefix=1, **more):
    return dict(dtype=dtype, dims=dims, grid=grid, prefix=prefix, **more)


def compiled(arch, cases):
    """Yields what the compiler says of every kernel of every case."""
    environment = {name: value for name, value in os.environ.items() if name != 'TRITON_INTERPRET'}
    result = subprocess.run([sys.executable, str(ROOT / 'tests' / 'helpers' / 'offline.py'), str(arch)],
                            input=json.dumps(cases), capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{')]
    assert len(lines) == sum(len(one.get('kernels', 'fqk')) for one in cases)
    return lines


def check(arch, lines):
    faults = []
    for line in lines:
        if 'error' in line:
            faults.append(line)
            continue
        measured = not line['case'].get('bias') and line['case']['dtype'] != 'float32'
        key = line['kernel'], arch, padded_head(line['case']['dims'])
        allowed = MEASURED.get(key, 0) if measured else 0
        spills = CHECKS_SPILLS and line['spilled'] > allowed
        # Serialised: products that wait for one another.
        if spills or line['shared'] > SHARED[arch] or line['serialised']:
            faults.append(line)
        assert 0 < line['registers'] <= 255, line
    assert not faults, '\n'.join(map(str, faults))


# One case for every row of the table of tiles.
EACH_TILE = [case('bfloat16' if half else 'float32', dims, MIDDLE if dims > 32 else GENERIC, bias=biased)
             for half, dims, biased in itertools.product((True, False), (16, 32, 64, 128), (False, True))]
SOME = [one for one in EACH_TILE if one['dims'] in (32, 64) and one['bias'] == (one['dtype'] == 'bfloat16')]


@pytest.fixture(scope='module')
def few():
    """What one process says of some tiles, of gradients of values alone, and of a kernel that spills."""
    values = case('bfloat16', 64, MIDDLE, keys=[False, True], kernels=['keys'])
    return compiled(90, [*SOME, values, case('bfloat16', 64, MIDDLE, kernels=['queries'])])


def test_every_row_has_a_case_and_some_are_compiled(few):
    rows = {(kernel, one['dtype'] != 'float32', one['dims'], one['bias'])
            for one in EACH_TILE for kernel in ('forward', 'queries', 'keys')}
    assert rows == set(TILES) and set(ON_HOPPER) <= rows
    check(90, few[:-1])


@pytest.mark.soak
@pytest.mark.parametrize('arch', [80, 90])
def test_every_tile(arch):
    check(arch, compiled(arch, EACH_TILE))


@pytest.mark.soak  # the short instance is above
@pytest.mark.parametrize('arch', [80, 90])
def test_every_way_over_the_keys(arch):
    """64 channels in half precision: windows of 8, 16 and 32 columns and none, all that a call may have."""
    check(arch, compiled(arch, [
        case('float16', 64, NARROW, prefix=0), case('bfloat16', 64, GENERIC, gate=True),
        case('bfloat16', 64, WIDE, given=True), case('bfloat16', 64, SMALL, prefix=20)]))


@pytest.mark.soak
@pytest.mark.parametrize('arch', [80, 90])
@pytest.mark.parametrize(('dtype', 'tf32'), [('bfloat16', False), ('float16', False), ('float32', False),
                                             ('float32', True)])
def test_every_configuration(dtype, tf32, arch):
    check(arch, compiled(arch, [
        case(dtype, dims, grid, prefix, tf32=tf32, **variant) for dims, (grid, prefix), variant in itertools.product(
            (16, 24, 32, 64, 96, 128), ((GENERIC, 1), (NARROW, 0), (MIDDLE, 5), (WIDE, 1), (SMALL, 1)), VARIANTS)]))


@pytest.mark.soak
@pytest.mark.parametrize('arch', [80, 90])
@pytest.mark.parametrize('wants', [[True, True, False, False, False], [False, True, True, False, False], [False] * 5])
def test_every_want(wants, arch):
    check(arch, compiled(arch, [
        case('bfloat16', 64, grid, wants=wants, keys=keys)
        for grid, keys in itertools.product((GENERIC, MIDDLE), ([True, False], [False, True]))]))


def test_the_check_sees_a_spill(few):
    line = few[-1]
    assert line['kernel'] == 'queries' and line['spilled'] > 0 and line['registers'] == 168
    assert torch.version.cuda is None or line['arch'] == 90
