"""The benchmarks: statistics, memory, parity before time, and the scripts as the docs call them."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from mmlocat.attention import streaming
from mmlocat.benchmark import attention, backbone
from mmlocat.benchmark import measure as measuring
from mmlocat.benchmark.measure import in_fresh_process, in_turns, peak_growth
from mmlocat.utils import machine
from mmlocat.utils.machine import machine_and_software, processor
from mmlocat.utils.tables import Table
from tests.conftest import ROOT
from tests.helpers.forked import run_python


def test_turns_give_ratios_to_the_baseline():
    calls = []
    results = in_turns({'slow': lambda: (calls.append('slow'), time.sleep(0.02)),
                        'fast': lambda: (calls.append('fast'), time.sleep(0.005))}, 'fast', 'cpu', 0.1)
    turns = [tuple(calls[i:i + 2]) for i in range(0, len(calls), 2)]
    assert len(turns) >= 4 and set(turns) == {('fast', 'slow'), ('slow', 'fast')}
    assert results['fast'].ratio == 1 and results['fast'].turns == len(turns) - 1  # the first is not counted
    assert 1.5 < results['slow'].ratio < 6 and results['slow'].low <= results['slow'].high


def test_rows_are_printed_as_they_come_with_heads_before_the_first(capsys):
    table = Table({'name': 6, 'ms': 5}, 'A title')
    table.print_row('a', 1.5, widths=(6, 5))
    table.print_row('bb', None, widths=(6, 5))
    assert capsys.readouterr().out.splitlines() == ['A title', 'name       ms', 'a         1.5', 'bb' + 11 * ' ']
    table = Table(('name', 'ms'), 'A title')
    table.print_row('a', 1.5, markdown=True)
    table.print_row('bb', None, markdown=True)
    assert capsys.readouterr().out == table.markdown() + '\n'


def test_a_report_says_what_it_was_measured_on():
    about = machine_and_software('cpu')
    assert about['card'] == processor('cpu') and about['device'] == 'cpu' and about['driver'] is about['cuda'] is None
    assert about['versions']['torch'] == torch.__version__ and json.dumps(about)
    assert re.fullmatch('[0-9a-f]{12}(, with changes)?|unknown: not a git checkout', about['commit'])


@pytest.mark.parametrize(('answers', 'found', 'words'), [
    (('c' * 40, ''), ('c' * 40, False), 'c' * 12),
    (('c' * 40, ' M x.py'), ('c' * 40, True), 'c' * 12 + ', with changes'),
    (('c' * 40, None), ('c' * 40, True), 'c' * 12 + ', with changes'),  # git took too long
    ((None, ), None, 'unknown: not a git checkout'),
])
def test_a_checkout_that_git_cannot_compare_is_not_called_clean(answers, found, words, tmp_path, monkeypatch):
    (tmp_path / '.git').touch()
    monkeypatch.setattr(machine, '_PACKAGE', tmp_path / 'mmlocat')
    for call, expected in ((machine.checkout, found), (machine.commit, words)):
        outputs = iter(answers)
        monkeypatch.setattr(machine, '_output', lambda *command, outputs=outputs: next(outputs))
        assert call() == expected


def grow(mebibytes):
    growth, kept = peak_growth(lambda: torch.ones(mebibytes << 18).sum(), 'cpu')
    return growth / 2**20, kept.item()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the peak of the resident set is read from /proc')
def test_memory_that_was_freed_again_counts():
    growth, total = in_fresh_process(grow, 64)
    assert 60 < growth < 80 and total == 64 << 18


def test_a_back_end_that_errs_is_not_timed(monkeypatch):
    case = attention.Case(grid=(5, 5), heads=2, head_dims=16)
    rows = attention.measure(case, 'forward + backward', ['auto', 'streaming'], 0.01, with_memory=False)
    assert [row.name for row in rows] == ['plain', 'auto', 'streaming']
    original = streaming._write_bias
    monkeypatch.setattr(streaming, '_write_bias', lambda tile, *factors: original(tile, *factors).mul_(1.01))
    with pytest.raises(RuntimeError, match='streaming is off by .* in Case'):
        attention.measure(case, 'forward', ['streaming'], 0.01, with_memory=False)


@pytest.mark.parametrize(('side', 'names'), [
    (7, ['auto', 'dense', 'sdpa', 'streaming']), (33, ['auto', 'sdpa', 'streaming'])])
def test_contenders_are_those_that_can_take_a_case(side, names, monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(attention, 'errors', lambda case, names, passes: iter(()))
    rows = attention.measure(attention.Case((side, 3), 1, 16), 'forward', None, 0.001, with_memory=False)
    assert [row.name for row in rows] == ['plain', *names]


def test_a_case_has_a_grid_of_any_shape():
    case = attention.Case(grid=(3, 5), heads=2, head_dims=16, batch=2)
    assert (case.tokens, case.shown['grid']) == (16, '3 x 5')
    inputs = attention.Inputs(case)
    assert [each.shape for each in inputs.leaves] == [(2, 2, 16, 16)] * 3
    assert len(inputs.run('plain', 'forward + backward')) == 4 and len(inputs.run('sdpa', 'forward + backward')) == 8
    for name, *errors in attention.errors(case, ['auto', 'dense', 'sdpa', 'streaming'], 'forward + backward'):
        assert 0 <= max(errors) < 1e-5, name


class Event:
    """Stands for a CUDA event: time is the number of calls until it."""

    calls = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.calls

    def elapsed_time(self, other):
        return (other.at - self.at) * 0.25  # ms a call


def test_a_gpu_is_timed_by_its_events(monkeypatch):
    """With stand-ins for the GPU: a call of 0.25 ms."""
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: None)
    monkeypatch.setattr(torch, 'empty', lambda *shape, device, **options: torch.zeros(8))

    def run():
        Event.calls += 1

    assert measuring._seconds_of(run, 'cuda') == pytest.approx(0.25e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU here')
def test_a_graph_replays_what_it_recorded():
    from mmlocat.benchmark.gpu.attention import _captured
    values = torch.ones(4, device='cuda')
    replay = _captured(lambda: values.add_(1))
    begun = values[0].item()
    replay()
    torch.cuda.synchronize()
    assert values[0].item() == begun + 1
    assert measuring.race(replay, replay, 'cuda', 0.01, with_memory=False)['ms'] > 0


def test_plain_models_agree_and_a_step_changes_weights():
    case = backbone.Case('tiny', 32)
    backbone.check_parity('tiny', 'cpu')
    model = backbone.build('LocAtViT', case)
    before = model.layers[0].attn.gaug.log_var.weight.detach().clone()
    backbone.runner(model, torch.randn(1, 3, 32, 32), 'training step')()
    assert not torch.equal(before, model.layers[0].attn.gaug.log_var.weight)


@pytest.mark.parametrize(('command', 'rows'), [
    (['attention.py', '--grids', '4', '--heads', '1', '--head-dims', '16', '--seconds', '0.01', '--backends',
      'auto', '--passes', 'forward', '--markdown', '--plot', 'PLOT'], 2),
    pytest.param(['attention.py', '--grids', '4', '5', '--heads', '2', '--head-dims', '16', '--seconds', '0.01',
                  '--backends', 'auto', '--markdown', '--plot', 'PLOT'], 8, marks=pytest.mark.soak),
    # test_docs_commands.py runs it with less to measure.
    pytest.param(['backbone.py', '--archs', 'tiny', '--images', '32', '--seconds', '0.01', '--no-memory',
                  '--markdown'], 6, marks=pytest.mark.soak),
])
def test_scripts_print_a_table(command, rows, tmp_path, clean_environment):
    picture = tmp_path / 'plot.png'
    command = [str(picture) if part == 'PLOT' else part for part in command]
    result = run_python(ROOT / 'tools' / 'benchmark' / command[0], *command[1:], environment=clean_environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'Warning' not in result.stderr
    assert sum(line.startswith('|') for line in result.stdout.splitlines()) == 2 + rows
    assert picture.exists() == ('attention.py' in command)


@pytest.mark.parametrize(('command', 'message'), [
    (['attention.py', '--grids', '0'], r'--grids takes positive numbers, got \[0\]'),
    (['attention.py', '--plot', '/nowhere/a.png'], 'the folder /nowhere does not exist'),
    (['backbone.py', '--images', '100'], '--images takes multiples of 16, the patch size; got 100'),
    (['backbone.py', '--batch', '0'], '--batch must be at least 1, got 0'),
])
def test_scripts_refuse_bad_input_at_once(command, message, clean_environment):
    result = run_python(ROOT / 'tools' / 'benchmark' / command[0], *command[1:], environment=clean_environment)
    assert result.returncode == 2
    assert re.search(message, result.stderr)


def test_a_back_end_that_cannot_run_is_refused_before_anything_is_measured(clean_environment):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here')
    environment = {name: value for name, value in clean_environment.items() if name != 'TRITON_INTERPRET'}
    result = run_python(ROOT / 'tools' / 'benchmark' / 'attention.py', '--backend', 'triton', environment=environment)
    assert result.returncode == 1 and not result.stdout
    assert re.match("Error: attention back-end 'triton' cannot run here: .+; these can: dense, sdpa, streaming$",
                    result.stderr.splitlines()[-1])


@pytest.mark.skipif(os.name == 'nt', reason='there is no SIGINT for another process')
def test_an_interrupted_benchmark_keeps_its_rows(clean_environment, tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'tools' / 'benchmark' / 'attention.py'), '--grids', '4', '40', '--heads', '1',
         '--seconds', '0.01', '--no-memory', '--backends', 'sdpa', '--markdown', '--plot', str(tmp_path / 'plot.png'),
         '--work-dir', str(tmp_path)],
        env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while not process.stdout.readline().startswith('| forward | sdpa |'):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and (tmp_path / 'plot.png').exists()
    assert f'Measurements kept in {tmp_path / "attention.json"}: 1.' in said and said.endswith('by Ctrl-C.\n')
