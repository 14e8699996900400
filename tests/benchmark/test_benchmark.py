"""The benchmarks: statistics, memory, parity before time, and the scripts as the docs call them."""

import re
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT

from mmlocat.attention import streaming
from mmlocat.benchmark import attention, backbone
from mmlocat.benchmark.measure import in_fresh_process, in_turns, peak_growth


def test_turns_give_ratios_to_the_baseline():
    calls = []
    results = in_turns({'slow': lambda: (calls.append('slow'), time.sleep(0.02)),
                        'fast': lambda: (calls.append('fast'), time.sleep(0.005))}, 'fast', 'cpu', 0.1)
    turns = [tuple(calls[i:i + 2]) for i in range(0, len(calls), 2)]
    assert len(turns) >= 4 and set(turns) == {('fast', 'slow'), ('slow', 'fast')}
    assert results['fast'].ratio == 1
    assert 1.5 < results['slow'].ratio < 6 and results['slow'].low <= results['slow'].high


def grow(mebibytes):
    growth, kept = peak_growth(lambda: torch.ones(mebibytes << 18).sum(), 'cpu')
    return growth / 2**20, kept.item()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the peak of the resident set is read from /proc')
def test_memory_that_was_freed_again_counts():
    growth, total = in_fresh_process(grow, 64)
    assert 60 < growth < 80 and total == 64 << 18


def test_a_back_end_that_errs_is_not_timed(monkeypatch):
    case = attention.Case(grid=5, heads=2, head_dims=16)
    attention.check_parity(case, attention.able(case, 'forward + backward', ['auto', 'streaming'], {}), 'forward')
    original = streaming._write_bias
    monkeypatch.setattr(streaming, '_write_bias', lambda tile, *factors: original(tile, *factors).mul_(1.01))
    with pytest.raises(RuntimeError, match='streaming is off by .* in Case'):
        attention.measure(case, 'forward', ['streaming'], 0.01, {}, with_memory=False)


def test_contenders_are_those_that_can_take_a_case():
    case = attention.Case(grid=40, heads=1)
    able = attention.able(case, 'forward + backward', ['auto', 'dense', 'sdpa', 'flex'], {'dense': 32, 'flex': 32})
    assert able == ['plain', 'auto', 'sdpa']


def test_plain_models_agree_and_a_step_changes_weights():
    case = backbone.Case('tiny', 32)
    backbone.check_parity(case)
    model = backbone.build('LocAtViT', case)
    before = model.layers[0].attn.gaug.log_var.weight.detach().clone()
    backbone.runner(model, torch.randn(1, 3, 32, 32), 'training step')()
    assert not torch.equal(before, model.layers[0].attn.gaug.log_var.weight)


@pytest.mark.parametrize('command', [
    ['attention.py', '--grids', '4', '5', '--heads', '2', '--head-dims', '16', '--seconds', '0.01', '--backends',
     'auto', '--markdown', '--plot', 'PLOT'],
    ['backbone.py', '--archs', 'tiny', '--images', '32', '--seconds', '0.01', '--no-memory', '--markdown'],
])
def test_scripts_print_a_table(command, tmp_path, clean_environment):
    picture = tmp_path / 'plot.png'
    command = [str(picture) if part == 'PLOT' else part for part in command]
    result = subprocess.run([sys.executable, str(ROOT / 'tools' / 'benchmark' / command[0]), *command[1:]],
                            env=clean_environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [line for line in result.stdout.splitlines() if line.startswith('|')]
    assert len(rows) == 2 + (8 if 'attention.py' in command else 6)
    assert picture.exists() == ('attention.py' in command)


@pytest.mark.parametrize(('command', 'message'), [
    (['attention.py', '--grids', '0'], r'--grids takes positive numbers, got \[0\]'),
    (['attention.py', '--plot', '/nowhere/a.png'], 'the folder /nowhere does not exist'),
    (['backbone.py', '--images', '100'], '--images takes multiples of 16, the patch size; got 100'),
    (['backbone.py', '--batch', '0'], '--batch must be at least 1, got 0'),
])
def test_scripts_refuse_bad_input_at_once(command, message, clean_environment):
    result = subprocess.run([sys.executable, str(ROOT / 'tools' / 'benchmark' / command[0]), *command[1:]],
                            env=clean_environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert re.search(message, result.stderr)
