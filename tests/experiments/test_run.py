"""Running steps: reuse, resume, failure, interruption."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from mmlocat.experiments.demo.plan import SeedPlan, Step
from mmlocat.experiments.demo.run import StepFailed, StepRunner, is_done

WRITE = '''
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text(" ".join(sys.argv[2:]))
print("Iter(train) [ 5/10]")
'''


def step(tmp_path, name='a', code=WRITE, fingerprint='f', resumable=False):
    folder = tmp_path / name
    return Step(name, folder, [sys.executable, '-c', code, str(folder / 'out')], 'out', 10.0, fingerprint, resumable)


def run(*steps, chains=()):
    console = Console(file=io.StringIO(), width=200)
    root = (steps or chains[0])[0].folder.parent
    plan = SeedPlan(0, root, [list(chain) for chain in chains], list(steps))
    with StepRunner([plan], console) as runner:
        runner.run(plan)
    return console.file.getvalue()


def test_a_step_runs_once(tmp_path):
    first = step(tmp_path)
    assert not is_done(first)
    run(first)
    assert is_done(first)
    stamp = (tmp_path / 'a' / 'out').stat().st_mtime_ns
    assert 'a: done before' in run(first)
    assert (tmp_path / 'a' / 'out').stat().st_mtime_ns == stamp


def test_a_step_whose_inputs_changed_starts_anew(tmp_path):
    run(step(tmp_path))
    (tmp_path / 'a' / 'leftover').touch()
    changed = step(tmp_path, fingerprint='g')
    assert not is_done(changed)
    run(changed)
    assert is_done(changed) and not (tmp_path / 'a' / 'leftover').exists()


def test_a_missing_product_is_made_again(tmp_path):
    run(step(tmp_path))
    (tmp_path / 'a' / 'out').unlink()
    assert not is_done(step(tmp_path))


def test_an_interrupted_training_resumes(tmp_path):
    training = step(tmp_path, resumable=True)
    training.folder.mkdir()
    (training.folder / 'pending.json').write_text(json.dumps(dict(fingerprint='f')))
    (training.folder / 'last_checkpoint').write_text(str(training.folder / 'epoch_1.pth'))
    (training.folder / 'epoch_1.pth').touch()
    assert 'a: resuming' in run(training)
    assert (training.folder / 'out').read_text() == '--resume'
    # Another recipe's checkpoint is not gone on from.
    other = step(tmp_path, 'b', resumable=True)
    other.folder.mkdir()
    (other.folder / 'pending.json').write_text(json.dumps(dict(fingerprint='else')))
    (other.folder / 'last_checkpoint').write_text('x')
    run(other)
    assert (other.folder / 'out').read_text() == ''
    # Neither is one that a kill took away after its name was written.
    gone = step(tmp_path, 'c', resumable=True)
    gone.folder.mkdir()
    (gone.folder / 'pending.json').write_text(json.dumps(dict(fingerprint='f')))
    (gone.folder / 'last_checkpoint').write_text(str(gone.folder / 'epoch_1.pth'))
    run(gone)
    assert (gone.folder / 'out').read_text() == ''


def test_a_failing_step_shows_its_last_lines_and_log(tmp_path):
    failing = step(tmp_path, code='print("the reason"); raise SystemExit(3)')
    with pytest.raises(StepFailed, match=r'a failed with exit code 3(.|\n)*the reason(.|\n)*output.log'):
        run(failing)
    assert not is_done(failing)
    silent = step(tmp_path, 'b', code='pass')
    with pytest.raises(StepFailed, match='b failed with exit code 0'):
        run(silent)


def test_a_failing_chain_ends_the_others(tmp_path):
    sleeper = step(tmp_path, 'sleeper', code='import time; time.sleep(60)')
    failing = step(tmp_path, 'failing', code='raise SystemExit(1)')
    begin = time.monotonic()
    with pytest.raises(StepFailed, match='failing failed'):
        run(chains=[[sleeper], [failing]])
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_every_process(number, tmp_path, clean_environment):
    script = tmp_path / 'main.py'
    script.write_text(f'''
import sys
from pathlib import Path
from rich.console import Console
from mmlocat.experiments.demo.plan import SeedPlan, Step
from mmlocat.experiments.demo.run import StepRunner
from mmlocat.experiments.demo.report import end_on_signals
end_on_signals()
folder = Path(sys.argv[1])
code = "import os, time, pathlib; pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid())); time.sleep(60)"
plan = SeedPlan(0, folder, [[Step('slow', folder / 'slow', [sys.executable, '-c', code], 'out', 1.0, 'f')]])
try:
    with StepRunner([plan], Console()) as runner:
        runner.run(plan)
except KeyboardInterrupt:
    sys.exit(130)
''')
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=clean_environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / 'pid').exists() or not (tmp_path / 'pid').read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    threading.Timer(0.2, lambda: os.kill(process.pid, number)).start()
    assert process.wait(40) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)


def test_what_a_killed_run_left_running_is_ended(tmp_path):
    training = step(tmp_path, resumable=True)
    training.folder.mkdir()
    sleep = [sys.executable, '-c', 'import time; time.sleep(60)', str(training.folder)]
    leftover = subprocess.Popen(sleep, start_new_session=True)
    other = subprocess.Popen([*sleep[:3], str(tmp_path)], start_new_session=True)  # a number that was given again
    try:
        (training.folder / 'process').write_text(str(leftover.pid))
        assert 'a: ended what a killed run had left running' in run(training)
        assert leftover.wait(10) != 0 and is_done(training)
        second = step(tmp_path, 'b')
        second.folder.mkdir()
        (second.folder / 'process').write_text(str(other.pid))
        assert 'left running' not in run(second)
        assert other.poll() is None
    finally:
        leftover.kill(), other.kill()


def test_no_eta_without_a_pace(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    plan = SeedPlan(0, tmp_path, [], [step(tmp_path)])
    with StepRunner([plan], console, lanes=1, pace=None) as runner:
        runner.run(plan)
        assert runner._progress.tasks[0].fields['eta'] == ''
