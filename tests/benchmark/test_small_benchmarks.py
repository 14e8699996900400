"""The benchmarks of Swin's windows and of the search for neighbours compare what they say; how all of them begin."""

import argparse
import importlib
import sys
import warnings

import pytest
import torch

import mmlocat.benchmark
from mmlocat.benchmark import neighbours, windows
from mmlocat.benchmark.cli import parse
from tests.conftest import ROOT
from tests.helpers.tool_runner import run_tool


@pytest.fixture
def small_swin(monkeypatch):
    zoo = dict(small=dict(embed_dims=8, depths=(2, 1), num_heads=(1, 2)))
    monkeypatch.setattr('mmlocat.models.LocAtSwin.arch_zoo', zoo)


def test_windows_of_every_stage_are_timed_beside_plain_ones(small_swin):
    stages = list(windows.measure('small', 64, 2, 'cpu', 0.01))
    assert [(stage.name, stage.blocks) for stage in stages] == [('stage 1', 2), ('stage 2', 1), ('all stages', 3)]
    assert all(stage.plain > 0 and stage.gaug.ratio > 0 for stage in stages)


def test_window_attentions_get_what_a_forward_pass_gives_them(small_swin):
    model = windows.LocAtSwin('small', 64)
    seen = []
    for block in model.blocks:
        block.attn.register_forward_pre_hook(lambda module, given: seen.append(given))
    model(torch.zeros(2, 3, 64, 64))
    timed = [call for stage in range(2) for call in windows._inputs(model, stage, 2, 'cpu')]
    for (tokens, mask), (_, own_tokens, own_mask) in zip(seen, timed):
        assert tokens.shape == own_tokens.shape
        assert own_mask is None if mask is None else torch.equal(mask, own_mask)


def test_every_way_to_search_is_measured():
    found = {search.name: search for search in neighbours.measure(500, 20, 8, 5, 0.01)}
    assert set(found) >= {'whole matrix', 'torch'} and found['whole matrix'].time.ratio == 1
    ways = neighbours._ways(500, 20, 8, 5)
    for name in found:
        assert torch.equal(ways[name]()[1], ways['whole matrix']()[1])


def test_the_tool_prints_a_table(capsys):
    sizes = ['--rows', 300, '--queries', 10, '--channels', 4]
    run_tool('benchmark/neighbours.py', *sizes, '--seconds', 0.01, '--markdown')
    assert '| whole matrix |' in capsys.readouterr().out


@pytest.mark.parametrize('tool', sorted(path.name for path in (ROOT / 'tools' / 'benchmark').glob('*.py')))
def test_every_benchmark_has_a_first_line(tool, capsys):
    run_tool(f'benchmark/{tool}', '--help')
    alone = tool in ('attention.py', 'gpu_report.py')  # which need no OpenMMLab
    first = f'mmlocat {mmlocat.__version__}: loading PyTorch{"" if alone else " and OpenMMLab"} ...\n'
    assert capsys.readouterr().err == first


def test_processes_that_measure_leave_out_warnings_as_commands_do(monkeypatch):
    monkeypatch.setattr(sys, 'warnoptions', [])
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        importlib.reload(mmlocat.benchmark)  # as a spawned process imports it
        for category, module, message in (
                (UserWarning, 'mmcv.cnn.bricks.transformer', 'Fail to import ``MultiScaleDeformableAttention`` from'),
                (FutureWarning, 'timm.models.layers', 'moved'), (UserWarning, 'mmlocat', 'of ours')):
            warnings.warn_explicit(message, category, 'file', 1, module)
    assert [str(warning.message) for warning in shown] == ['of ours']


@pytest.mark.parametrize(('count', 'advice'), [
    (0, 'no GPU here; leave the option out for the CPU'),
    (1, '1 GPU here; leave the option out for the CPU, or give cuda:0'),
    (2, '2 GPUs here; leave the option out for the CPU, or give cuda:0 to cuda:1'),
])
def test_a_device_that_is_not_there_is_told_which_are(count, advice, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
    monkeypatch.setattr(sys, 'argv', ['tool', '--device', 'cuda:7'])
    with pytest.raises(SystemExit):
        parse(argparse.ArgumentParser())
    assert capsys.readouterr().err.endswith(f'error: --device cuda:7: PyTorch sees {advice}\n')
