"""The report of `make gpu-report`: small on a CPU, with parts that fail, and never over the committed page."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmlocat import __version__
from mmlocat.benchmark.attention import Case
from mmlocat.benchmark.gpu import attention, run
from mmlocat.benchmark.gpu.page import render
from mmlocat.benchmark.gpu.plan import FULL, PARTS, SMALL, Part
from mmlocat.benchmark.gpu.run import run_report
from mmlocat.benchmark.gpu.targets import TARGETS, judge
from tests.conftest import ROOT

TOOL = str(ROOT / 'tools' / 'benchmark' / 'gpu_report.py')
COMMITTED = ROOT / 'docs' / 'performance_gpu.md'
STATUS = 'not measured on this code'


def report_of(folder, name='performance_gpu'):
    return json.loads((folder / f'{name}.json').read_text())


def test_parts_are_measured_and_shown(tmp_path):
    pytest.importorskip('triton', '3.2')
    plan = SMALL._replace(parity=(Case((3, 4), 1, 16), ), attention=((Case((3, 4), 1, 16), 'sdpa'), ))
    report = run_report(plan, tmp_path / 'page.md', PARTS[:2])
    assert {name: entry['problem'] for name, entry in report['parts'].items()} == dict(parity='', attention='')
    rows = {name: entry['rows'] for name, entry in report['parts'].items()}
    assert {row['backend'] for row in rows['parity']} >= {'dense', 'sdpa', 'streaming', 'triton'}
    assert all(row['ms'] > 0 and row['ratio'] > 0 for row in rows['attention'])
    page = (tmp_path / 'page.md').read_text()
    assert page == render(report) and all(f'## {part.title}\n' in page for part in PARTS[:2])


@pytest.mark.soak
def test_a_small_run_has_all_parts(tmp_path, clean_environment):
    pytest.importorskip('triton', '3.2')  # the report is of GPUs: it has no use without their back-end
    before = COMMITTED.read_bytes()
    result = subprocess.run([sys.executable, TOOL, '--small', '--out', str(tmp_path / 'own')], env=clean_environment,
                            capture_output=True, text=True, timeout=500)
    report = report_of(tmp_path / 'own')
    rows = {name: entry['rows'] for name, entry in report['parts'].items()}
    assert result.returncode == 0, f'{rows}\n{result.stderr[-2000:]}'
    assert {name: entry['problem'] for name, entry in report['parts'].items()} == {part.name: '' for part in PARTS}
    page = (tmp_path / 'own' / 'performance_gpu.md').read_text()
    assert page == render(report) and 'A small run' in page
    assert all(f'## {part.title}\n' in page for part in PARTS)
    checked = {(row['backend'], row['dtype']) for row in rows['parity'] if 'gradients' in row}
    dtypes = {case.dtype for case in SMALL.parity}
    assert {(name, dtype) for name in ('dense', 'sdpa', 'streaming', 'triton') for dtype in dtypes} <= checked
    assert len(dtypes) > 1 and 'bfloat16' not in dtypes  # which the interpreter computes wrongly
    assert {row['backend'] for row in rows['attention']} == {'triton', 'sdpa', 'streaming'}
    assert all(row['ms'] > 0 and row['ratio'] > 0 for name in rows if name != 'parity' for row in rows[name])
    assert [row['compiled'] for row in rows['compiled']] == ['blocks', 'blocks', 'whole', 'whole']
    assert rows['training'][0]['images_per_second'] > 0
    assert all(verdict == 'not measured' for _, _, verdict in judge(report))
    assert COMMITTED.read_bytes() == before and not COMMITTED.with_suffix('.json').exists()


@pytest.mark.parametrize(('arguments', 'message'), [
    ([], 'PyTorch sees no GPU here, .*--small --out work_dirs/gpu-report'),
    (['--small'], 'a small run has no figures for docs/performance_gpu.md'),
    (['--small', '--out', str(COMMITTED.parent / '..' / 'docs' / COMMITTED.name)], 'a small run has no figures'),
    (['--small', '--out', TOOL], '--out .* is a file, not a folder; name another folder$'),
])
def test_the_committed_page_is_not_for_this_machine(arguments, message, capsys):
    import torch

    from tests.helpers.tool_runner import run_tool
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here')
    before = COMMITTED.read_bytes()
    with pytest.raises(SystemExit) as stop:
        run_tool('benchmark/gpu_report.py', *arguments)
    begun, said = capsys.readouterr().err.split('\n', 1)
    assert begun == f'mmlocat {__version__}: loading PyTorch ...'
    assert stop.value.code == 2 and said.count('\n') == 1 and re.search(message, said)
    assert COMMITTED.read_bytes() == before


def raises(plan):
    yield dict(what='before'), lambda: dict(ms=2.0)
    raise ValueError('no such kernel\nand a long tail')


def dies(plan):
    yield dict(what='before'), lambda: dict(ms=2.0)
    os._exit(7)


def hangs(plan):
    yield dict(what='before'), lambda: dict(process=subprocess.Popen(['sleep', '987']).pid)
    time.sleep(600)


def fails_in_a_case(plan):
    for number in range(2):
        yield dict(what=number), partial(divmod_row, number)


def divmod_row(number):
    return dict(ms=3.0 / number)


MEASURED = []


def counts(plan):
    for what in ('first', 'second'):
        yield dict(what=what), lambda what=what: MEASURED.append(what) or dict(ms=float(len(MEASURED)))


def part(function, seconds=30.0):
    return Part(function.__name__, f'It {function.__name__}', f'{__name__}:{function.__name__}', seconds, 'A note.')


def test_it_goes_on_after_parts_that_fail(tmp_path, capsys):
    page = tmp_path / 'page.md'
    start = time.monotonic()
    report = run_report(SMALL, page, [part(hangs, 12), part(raises), part(dies), part(fails_in_a_case)])
    assert time.monotonic() - start < 100
    assert {name: entry['problem'] for name, entry in report['parts'].items()} == {
        'hangs': 'stopped: not done after 12 s',
        'raises': 'failed: ValueError: no such kernel',
        'dies': 'its process ended with exit code 7',
        'fails_in_a_case': '',
    }
    rows = {name: entry['rows'] for name, entry in report['parts'].items()}
    assert rows['raises'] == rows['dies'] == [dict(what='before', ms=2.0)]
    # What a part has started ended with it; an ended process that nobody asked about has no command line.
    command = Path(f'/proc/{rows["hangs"][0]["process"]}/cmdline')
    assert not command.exists() or not command.read_bytes()
    assert rows['fails_in_a_case'] == [dict(what=0, problem='failed: ZeroDivisionError: float division by zero'),
                                       dict(what=1, ms=3.0)]
    assert '**failed: ValueError: no such kernel**' in page.read_text()
    assert json.loads(page.with_suffix('.json').read_text()) == report
    assert 'what before, ms 2' in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_rows(tmp_path, clean_environment):
    process = subprocess.Popen([sys.executable, TOOL, '--small', '--out', str(tmp_path)], env=clean_environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stdout.readline().startswith('grid 5 x 5')
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said.endswith('Stopped by Ctrl-C.\n')
    entry = report_of(tmp_path)['parts']['parity']
    assert entry['rows'] and entry['problem'] == 'interrupted'
    assert '**interrupted**' in (tmp_path / 'performance_gpu.md').read_text()


def test_the_run_after_an_interrupted_one_goes_on(tmp_path, monkeypatch, capsys):
    """Without processes: the first run is interrupted in its second row."""
    stop = []
    monkeypatch.setattr(sys.modules[__name__], 'MEASURED', [])

    def here(each, plan, seconds, kept, keep):
        def send(said):
            if isinstance(said, tuple):
                keep(*said)
                if stop:
                    raise KeyboardInterrupt
        run._measure(each, plan, kept, SimpleNamespace(send=send))
        return ''

    monkeypatch.setattr(run.os, 'setsid', lambda: None)
    monkeypatch.setattr(run, '_run_part', here)
    parts, page = [part(counts)], tmp_path / 'page.md'
    stop.append(True)
    with pytest.raises(KeyboardInterrupt):
        run_report(SMALL, page, parts)
    assert 'Measurements kept in' in capsys.readouterr().err
    stop.clear()
    report = run_report(SMALL, page, parts)
    assert MEASURED == ['first', 'second']
    assert report['parts']['counts']['rows'] == [dict(what='first', ms=1.0), dict(what='second', ms=2.0)]
    assert report_of(tmp_path, 'page') == report and not page.with_suffix('.unfinished.json').exists()


def test_nothing_is_written_where_nothing_was_measured(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('as it was')
    report = run_report(SMALL, page, [Part('missing', 'It needs more', 'no_such_module:measures', 30, '')])
    assert report['parts']['missing']['problem'] == "failed: ModuleNotFoundError: No module named 'no_such_module'"
    assert page.read_text() == 'as it was' and list(tmp_path.iterdir()) == [page]


def test_attention_is_measured_without_openmmlab():
    code = '''
import importlib, sys
for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision', 'rich'):
    sys.modules[name] = None
from mmlocat.benchmark.gpu import attention, run
try:
    importlib.import_module('mmlocat.benchmark.gpu.models')
except ImportError as error:
    print(error)
'''
    result = subprocess.run([sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=str(ROOT)),
                            capture_output=True, text=True)
    assert 'pip install "mmlocat[onedl]"' in result.stdout, result.stderr


def test_a_gpu_is_timed_eagerly_and_under_graphs(monkeypatch):
    recorded, raced = [], []
    monkeypatch.setattr(attention, 'Inputs', lambda case: SimpleInputs)
    monkeypatch.setattr(attention, '_captured', lambda run: recorded.append(run) or run)
    monkeypatch.setattr(attention, 'race', lambda own, base, device, seconds, with_memory=True: raced.append(
        (own.args[0], base.args[0], device, with_memory)) or dict(ms=1.0))
    plan = FULL._replace(attention=((Case((4, 4), 1, 16, device='cuda'), 'sdpa'), ))
    rows = [{**shown, **measure()} for shown, measure in attention.speed(plan)]
    assert [(row['passes'], row['launch']) for row in rows] == [
        (passes, launch) for passes in ('forward', 'forward + backward') for launch in ('eager', 'CUDA graph')]
    assert raced == 2 * [('sdpa', 'plain', 'cuda', True), ('sdpa', 'plain', 'cuda', False)] and len(recorded) == 4


class SimpleInputs:
    run = staticmethod(print)


def verdict_on(target, rows):
    report = dict(parts={target.part: dict(rows=rows)})
    return next((figure, verdict) for found, figure, verdict in judge(report) if found is target)


@pytest.mark.parametrize('target', TARGETS, ids=lambda target: target.text)
def test_targets_are_read_from_rows(target):
    met, missed = ({**target.where, target.value: target.limit + more} for more in (0.0, 0.01))
    another = {**met, next(iter(target.where)): 'another', target.value: 9.0}
    failed = dict(target.where, problem='failed: OutOfMemoryError: 3 GiB')
    assert verdict_on(target, [met, another]) == (target.limit, 'pass')
    assert verdict_on(target, [met, missed, another]) == (target.limit + 0.01, 'miss')  # the worst case counts
    assert verdict_on(target, [another]) == verdict_on(target, [met, failed]) == (None, 'not measured')


def test_every_target_has_a_case_in_the_plan():
    shown = [dict(case.shown, backend=name) for case, name in FULL.attention]
    shown += [dict(arch=arch, image=image, batch=batch, dtype=FULL.dtype) for arch, image, batch in FULL.backbones]
    for target in TARGETS:
        measured = ('passes', 'launch', 'mode', 'compiled')  # which every case is, each way
        wanted = {key: value for key, value in target.where.items() if key not in measured}
        assert any(wanted.items() <= case.items() for case in shown), wanted


def test_a_back_end_beyond_its_tolerance_is_a_problem(monkeypatch):
    plan = SMALL._replace(parity=(Case((3, 4), 1, 16), ))
    measured = {shown['backend']: measure for shown, measure in attention.parity(plan)}
    assert measured['sdpa']()['problem'] is None
    monkeypatch.setattr(attention, 'errors', lambda case, names, passes: [(names[0], 0.5, float('nan'))])
    assert measured['sdpa']()['problem'] == 'beyond its tolerance'


def test_the_committed_page_is_a_report_or_says_that_nothing_was_measured():
    text, figures = COMMITTED.read_text(encoding='utf-8'), COMMITTED.with_suffix('.json')
    if figures.exists():
        report = json.loads(figures.read_text())
        assert render(report) == text and not report['small'] and report['about']['device'].startswith('cuda')
        return
    assert 'Nothing on this page was measured on this code' in text and 'make gpu-report' in text
    rows = [line for block in re.findall(r'(?:^\|.*\n)+', text, re.MULTILINE) for line in block.splitlines()[2:]]
    assert len(rows) > len(TARGETS) and all(line.endswith(f'| {STATUS} |') for line in rows)
    for target in TARGETS:
        assert f'| {target.text} | <= {target.limit:.2f} | {STATUS} |' in rows
