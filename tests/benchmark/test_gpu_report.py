"""The report of `make gpu-report`: small on a CPU, with parts that fail, and never over the committed page."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmlocat.benchmark import measure
from mmlocat.benchmark.attention import Case
from mmlocat.benchmark.clocks import wall_clock
from mmlocat.benchmark.gpu import attention
from mmlocat.benchmark.gpu.page import render
from mmlocat.benchmark.gpu.plan import FULL, PARTS, SMALL, Part
from mmlocat.benchmark.gpu.run import missing_module, run_report, state_of
from mmlocat.benchmark.gpu.targets import TARGETS, judge
from mmlocat.benchmark.gpu.worker import Job
from tests.conftest import ROOT

TOOL = str(ROOT / 'tools' / 'benchmark' / 'gpu_report.py')
COMMITTED = ROOT / 'docs' / 'performance_gpu.md'
STATUS = 'not measured on this code'


def report_of(folder):
    return json.loads((folder / 'performance_gpu.json').read_text())


def test_a_small_run_has_all_parts(tmp_path, clean_environment):
    before = COMMITTED.read_bytes()
    result = subprocess.run([sys.executable, TOOL, '--small', '--out', str(tmp_path / 'own')], env=clean_environment,
                            capture_output=True, text=True, timeout=500)
    report = report_of(tmp_path / 'own')
    states = {name: (entry['state'], entry['reason']) for name, entry in report['parts'].items()}
    assert result.returncode == 0, f'{states}\n{result.stderr[-2000:]}'
    assert states == {part.name: ('done', '') for part in PARTS}
    page = (tmp_path / 'own' / 'performance_gpu.md').read_text()
    assert page == render(report) and 'A small run' in page
    assert all(f'## {part.title}\n' in page for part in PARTS)
    parity = report['parts']['parity']['rows']
    checked = {(row['backend'], row['dtype']) for row in parity if row.get('ok')}
    dtypes = {case.dtype for case in SMALL.parity}
    assert {(name, dtype) for name in ('dense', 'sdpa', 'streaming', 'triton') for dtype in dtypes} <= checked
    assert len(dtypes) > 1 and 'bfloat16' not in dtypes  # which the interpreter computes wrongly
    assert {row['backend'] for row in report['parts']['attention']['rows'] if 'ms' in row} >= {'plain', 'triton'}
    assert report['parts']['training']['rows'][0]['images_per_second'] > 0
    assert all(verdict.verdict == 'not measured' for verdict in judge(report))
    assert COMMITTED.read_bytes() == before and not COMMITTED.with_suffix('.json').exists()


@pytest.mark.parametrize(('arguments', 'message'), [
    ([], 'PyTorch sees no GPU here, .*--small --out work_dirs/gpu-report'),
    (['--out', 'elsewhere'], 'PyTorch sees no GPU here, '),
    (['--device', 'cpu', '--out', str(COMMITTED)], '--device cpu is no GPU; .*--small --out work_dirs/gpu-report'),
    (['--small'], 'a small run has no figures for docs/performance_gpu.md'),
    (['--small', '--out', str(COMMITTED.parent)], 'a small run has no figures for docs/performance_gpu.md'),
    (['--small', '--out', str(COMMITTED.parent / '..' / 'docs' / COMMITTED.name)], 'a small run has no figures'),
    (['--small', '--out', TOOL], '--out .* names no file that can be written'),
    (['--small', '--seconds', '0', '--out', 'elsewhere'], '--seconds must be positive, got 0'),
])
def test_the_committed_page_is_not_for_this_machine(arguments, message, capsys):
    import torch

    from tests.helpers.tool_runner import run_tool
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here')
    before = COMMITTED.read_bytes()
    with pytest.raises(SystemExit) as stop:
        run_tool('benchmark/gpu_report.py', *arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count('\n') == 1 and re.search(message, said)
    assert COMMITTED.read_bytes() == before


def measures(job):
    job.row(dict(what='first'), ms=1.0)


def raises(job):
    job.row(dict(what='before'), ms=2.0)
    raise ValueError('no such kernel\nand a long tail')


def dies(job):
    job.row(dict(what='before'), ms=2.0)
    os._exit(7)


def hangs(job):
    job.row(dict(what='before'), ms=2.0, process=subprocess.Popen(['sleep', '987']).pid)
    time.sleep(600)


def fails_in_a_case(job):
    def measure(number):
        assert number, 'zero'
        job.row(dict(what=number), ms=3.0)

    for number in range(3):
        job.attempt(dict(what=number), 1000 if number == 2 else 0, measure, number)


def part(function, share=1.0, needs=()):
    return Part(function.__name__, f'It {function.__name__}', f'{__name__}:{function.__name__}', share, needs)


def test_it_goes_on_after_parts_that_fail(tmp_path, monkeypatch, capsys):
    from mmlocat.benchmark.gpu import worker
    monkeypatch.setattr(worker, '_GRACE', 0)
    page = tmp_path / 'page.md'
    parts = [part(raises, 20), part(dies, 20), part(fails_in_a_case, 20), part(hangs, 1e-9),
             part(measures, 100)._replace(name='alone', needs=('no_such_module', )), part(measures, 100)]
    start = time.monotonic()
    # The process of `hangs` gets four seconds: its time has passed when it begins.
    monkeypatch.setattr(worker.Worker, 'run', lambda self, which, seconds, take, run=worker.Worker.run: run(
        self, which, 4.0 if which.name == 'hangs' else seconds, take))
    report = run_report(SMALL, 'cpu', page, 200, parts)
    assert time.monotonic() - start < 60
    states = {name: (entry['state'], entry['reason']) for name, entry in report['parts'].items()}
    assert states == {
        'raises': ('failed', 'ValueError: no such kernel'),
        'dies': ('failed', 'its process ended with exit code 7'),
        'fails_in_a_case': ('failed', '1 cases failed, 1 cases found no time'),
        'hangs': ('failed', 'stopped: not done 0 s after its time'),
        'alone': ('left out', 'no_such_module is not installed'),
        'measures': ('done', ''),
    }
    rows = {name: entry['rows'] for name, entry in report['parts'].items()}
    assert rows['raises'] == rows['dies'] == [dict(what='before', ms=2.0)]
    # What a part has started ended with it; an ended process that nobody asked about has no command line.
    command = Path(f'/proc/{rows["hangs"][0]["process"]}/cmdline')
    assert not command.exists() or not command.read_bytes()
    assert rows['fails_in_a_case'] == [dict(what=0, problem='failed: AssertionError: zero'), dict(what=1, ms=3.0),
                                       dict(what=2, problem='not measured: no time was left')]
    assert '**failed: ValueError: no such kernel**' in page.read_text()
    assert json.loads(page.with_suffix('.json').read_text()) == report
    assert 'what first, ms 1' in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_rows(tmp_path, clean_environment):
    process = subprocess.Popen([sys.executable, TOOL, '--small', '--out', str(tmp_path)], env=clean_environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stdout.readline().startswith('backend auto')
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.search(r'Interrupted: \d+ rows are in .*performance_gpu.md\nStopped by Ctrl-C.\n$', said)
    entry = report_of(tmp_path)['parts']['parity']
    assert entry['rows'] and (entry['state'], entry['reason']) == ('failed', 'interrupted')
    assert '**failed: interrupted**' in (tmp_path / 'performance_gpu.md').read_text()


def test_nothing_is_written_where_nothing_was_measured(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('as it was')
    run_report(SMALL, 'cpu', page, 10, [part(measures)._replace(needs=('no_such_module', ))])
    assert page.read_text() == 'as it was' and list(tmp_path.iterdir()) == [page]


def test_attention_is_measured_without_openmmlab():
    code = '''
import sys
for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision', 'rich'):
    sys.modules[name] = None
from mmlocat.benchmark.gpu import attention
from mmlocat.benchmark.gpu.plan import PARTS
from mmlocat.benchmark.gpu.run import missing_module
print(*(part.name for part in PARTS if missing_module(part) is None))
'''
    result = subprocess.run([sys.executable, '-c', code], env=dict(os.environ, PYTHONPATH=str(ROOT)),
                            capture_output=True, text=True)
    assert result.stdout.split() == ['parity', 'attention', 'memory'], result.stderr
    assert all(missing_module(part) is None for part in PARTS)


class Gpu(str):
    """A device whose tensors lie on the CPU and that is asked for graphs, as a GPU is."""

    def startswith(self, prefix, *range_of):
        return prefix == 'cuda' or super().startswith(prefix, *range_of)


def test_a_gpu_is_timed_eagerly_and_under_graphs(monkeypatch):
    clocks = []
    monkeypatch.setattr(measure, 'clock_for', lambda device, graphs: clocks.append((device, graphs)) or wall_clock)
    recorded = []
    monkeypatch.setattr(attention, 'captured', lambda run: recorded.append(run) or run)
    plan = SMALL._replace(attention={Case(4, 1, 16): ('sdpa', 'no such')})
    rows = []
    attention.speed(Job(plan, Gpu('cpu'), 100, rows.append))
    names = ('no such', 'plain', 'sdpa')
    assert [(row['launch'], row['backend'], 'ms' in row) for row in rows] == 2 * [
        (launch, name, name != 'no such') for launch in ('eager', 'CUDA graph') for name in names]
    assert clocks == 2 * [('cpu', False), ('cpu', True)]
    assert len(recorded) == 4 and rows[0]['problem'].startswith('failed: ValueError: unknown attention back-end')


def rows_for(target, figure):
    """Returns rows that give a target this figure, and one that is none of its."""
    row = {key: value[0] if isinstance(value, list) else value for key, value in target.where.items()}
    row.update({target.value: figure, **({target.over: 1.0} if target.over else {})})
    lists = [(key, value) for key, value in target.where.items() if isinstance(value, list)]
    rows = [dict(row, **{key: each}) for key, value in lists for each in value] or [row]
    return [*rows, dict(row, **{next(iter(target.where)): 'another', target.value: 9.0})]


def report_with(target, rows):
    return dict(parts={target.part: dict(rows=rows)})


@pytest.mark.parametrize('target', TARGETS, ids=lambda target: target.text)
def test_targets_are_read_from_rows(target):
    def verdict(rows):
        return next(found for found in judge(report_with(target, rows)) if found.target is target)

    assert verdict(rows_for(target, target.limit - 0.01)).verdict == 'pass'
    missed = verdict(rows_for(target, target.limit + 0.01))
    assert missed.verdict == 'miss' and missed.measured == pytest.approx(target.limit + 0.01)
    assert verdict(rows_for(target, target.limit)).verdict == ('miss' if target.below else 'pass')
    assert verdict([]).verdict == 'not measured'
    problem = {key: value for key, value in rows_for(target, 1.0)[0].items() if key in target.where}
    problem.pop('backend', problem.pop('model', None))
    failed = verdict([*rows_for(target, target.limit - 0.01), dict(problem, problem='failed: OutOfMemoryError: 3 GiB')])
    assert failed.verdict == 'not measured' and failed.measured is None
    late = verdict([*rows_for(target, target.limit - 0.01), dict(problem, problem='not measured: no time was left')])
    assert late.verdict == 'pass'


def test_a_target_over_several_cases_takes_the_worst_and_needs_all():
    target = next(target for target in TARGETS if target.part == 'memory')
    rows = rows_for(target, 0.7)[:-1]
    rows[1]['ratio'] = 1.2
    verdict, = (found for found in judge(report_with(target, rows)) if found.target is target)
    assert (verdict.measured, verdict.verdict) == (1.2, 'miss')
    verdict, = (found for found in judge(report_with(target, rows[1:])) if found.target is target)
    assert verdict.verdict == 'not measured'


def test_every_target_has_a_case_in_the_plan():
    shown = [case.shown for case in (*FULL.attention, *FULL.backbones)]
    for target in TARGETS:
        said = {key: value for key, value in target.where.items() if key in ('grid', 'arch', 'image', 'batch', 'dtype')}
        for grid in said.get('grid', []) if isinstance(said.get('grid'), list) else [said.get('grid')]:
            wanted = {**said, **({'grid': grid} if grid else {})}
            assert any(wanted.items() <= case.items() for case in shown), wanted


def test_a_back_end_beyond_its_tolerance_fails_the_part():
    assert state_of([dict(ok=True), dict(ok=False)]) == ('failed', '1 beyond tolerance')
    assert state_of([dict(ok=True), dict(problem='cannot run: it has no float64')]) == ('done', '')


def test_the_committed_page_is_a_report_or_says_that_nothing_was_measured():
    text, figures = COMMITTED.read_text(encoding='utf-8'), COMMITTED.with_suffix('.json')
    if figures.exists():
        report = json.loads(figures.read_text())
        assert render(report) == text and not report['small'] and report['about']['device'].startswith('cuda')
        return
    assert 'Nothing on this page was measured on this code' in text and 'make gpu-report' in text
    rows = [line for block in re.findall(r'(?:^\|.*\n)+', text, re.MULTILINE) for line in block.splitlines()[2:]]
    assert len(rows) > len(TARGETS) and all(line.endswith(f'| {STATUS} |') for line in rows)
    assert all(any(line.startswith(f'| {target.text} |') for line in rows) for target in TARGETS)
