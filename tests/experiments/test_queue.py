"""Running jobs: reuse, resume, order, failure, interruption."""

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

from mmlocat.experiments.suite.queue import Job, read_state, run_jobs

WRITE = '''
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text(" ".join(sys.argv[2:]))
'''


def job(tmp_path, name='a', code=WRITE, fingerprint='f', **options):
    folder = tmp_path / name
    return Job(name, folder, [sys.executable, '-c', code, str(folder / 'out')], 'out', fingerprint, **options)


def run(*jobs, lanes=1):
    console = Console(file=io.StringIO(), width=200)
    left = [one for one in jobs if not one.done]
    assert {one.name for one in run_jobs(jobs, console, lanes) if one.done} == {one.name for one in left}
    return console.file.getvalue()


def test_a_job_runs_once_for_the_same_inputs_and_product(tmp_path):
    first = job(tmp_path)
    assert not first.done
    run(first)
    stamp = (tmp_path / 'a' / 'out').stat().st_mtime_ns
    assert 'a: done before' in run(first)
    assert (tmp_path / 'a' / 'out').stat().st_mtime_ns == stamp
    (tmp_path / 'a' / 'leftover').touch()
    changed = job(tmp_path, fingerprint='g')
    assert not changed.done
    run(changed)
    assert not (tmp_path / 'a' / 'leftover').exists()
    (tmp_path / 'a' / 'out').unlink()
    assert not changed.done


def test_a_pattern_stands_for_the_checkpoint_that_is_there_when_the_job_begins(tmp_path):
    made = job(tmp_path, code='import pathlib, sys; pathlib.Path(sys.argv[1]).with_name("best_7.pth").touch(); '
                              'pathlib.Path(sys.argv[1]).touch()')
    uses = job(tmp_path, 'b', after=made)
    uses.command.append(str(tmp_path / 'a' / 'best_*.pth'))
    run(made, uses)
    assert (tmp_path / 'b' / 'out').read_text() == str(tmp_path / 'a' / 'best_7.pth')


@pytest.mark.parametrize(('state', 'checkpoint', 'said'), [
    (dict(fingerprint='f', process=None, seconds=None), 'epoch_1.pth', '--resume'),
    (dict(fingerprint='else'), 'epoch_1.pth', ''),  # another recipe's checkpoint is not gone on from
    (dict(fingerprint='f'), 'gone.pth', ''),  # nor one that a kill took away after its name was written
])
def test_an_interrupted_training_resumes(state, checkpoint, said, tmp_path):
    training = job(tmp_path, resumable=True)
    training.folder.mkdir()
    (training.folder / 'job.json').write_text(json.dumps(state))
    (training.folder / 'last_checkpoint').write_text(str(training.folder / checkpoint))
    (training.folder / 'epoch_1.pth').touch()
    assert ('a: resuming' in run(training)) == bool(said)
    assert (training.folder / 'out').read_text() == said


def test_a_failing_job_shows_its_last_lines_and_log(tmp_path):
    failing = job(tmp_path, code='print("the reason"); raise SystemExit(3)')
    with pytest.raises(RuntimeError, match=r'a failed with exit code 3(.|\n)*the reason(.|\n)*output.log'):
        run(failing)
    assert not failing.done
    silent = job(tmp_path, 'b', code='pass')
    with pytest.raises(RuntimeError, match='b failed with exit code 0'):
        run(silent)


def test_a_failing_job_ends_the_others(tmp_path):
    sleeper = job(tmp_path, 'sleeper', code='import time; time.sleep(60)')
    failing = job(tmp_path, 'failing', code='raise SystemExit(1)')
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match='failing failed'):
        run(sleeper, failing, lanes=2)
    assert time.monotonic() - begin < 30 and read_state(sleeper.folder)['seconds'] is None
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads((sleeper.folder / 'job.json').read_text())['process'], 0)


def spans(*jobs):
    return {one.name: tuple(map(float, (one.folder / 'out').read_text().split())) for one in jobs}


def test_jobs_wait_for_what_they_need_and_for_lanes(tmp_path):
    """Two small ones side by side, then one that takes both lanes and holds back a small one behind it."""
    timed = ('import pathlib, sys, time; begin = time.time(); time.sleep(0.6); '
             'pathlib.Path(sys.argv[1]).write_text(f"{begin} {time.time()}")')
    first, second = job(tmp_path, 'first', timed), job(tmp_path, 'second', timed)
    wide = job(tmp_path, 'wide', timed, after=first, lanes=2)
    behind = job(tmp_path, 'behind', timed)
    run(first, second, wide, behind, lanes=2)
    found = spans(first, second, wide, behind)
    assert found['second'][0] < found['first'][1]
    assert found['wide'][0] >= max(found['first'][1], found['second'][1]) and found['behind'][0] >= found['wide'][1]
    alone = job(tmp_path, 'alone', timed, lanes=2)  # more lanes than there are: all of them
    run(alone, lanes=1)
    assert alone.done


def test_progress_counts_steps_and_names_the_time_that_mmengine_gives(tmp_path, monkeypatch):
    monkeypatch.setattr('mmlocat.experiments.suite.queue._REPORT_EVERY', 0)
    line = 'Iter(train) [ 30/40]  lr: 1e-3  eta: 1 day, 2:03:04  time: 0.1'
    slow = job(tmp_path, 'b', f'import time; print({line!r}, flush=True); time.sleep(1)\n{WRITE}')
    said = run(job(tmp_path, 'a'), slow)
    assert '1 of 2 steps are done; b, eta: 1 day, 2:03:04' in said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_every_process(number, tmp_path, clean_environment):
    script = tmp_path / 'main.py'
    script.write_text(f'''
import sys
from pathlib import Path
from rich.console import Console
from mmlocat.experiments.suite.queue import Job, end_on_signals, run_jobs
end_on_signals()
folder = Path(sys.argv[1])
code = "import os, time, pathlib; pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid())); time.sleep(60)"
try:
    list(run_jobs([Job('slow', folder / 'slow', [sys.executable, '-c', code], 'out', 'f')], Console()))
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
    training = job(tmp_path, resumable=True)
    training.folder.mkdir()
    sleep = [sys.executable, '-c', 'import time; time.sleep(60)', str(training.folder)]
    leftover = subprocess.Popen(sleep, start_new_session=True)
    other = subprocess.Popen([*sleep[:3], str(tmp_path)], start_new_session=True)  # a number that was given again
    try:
        (training.folder / 'job.json').write_text(json.dumps(dict(fingerprint='f', process=leftover.pid)))
        assert 'a: ended what a killed run had left running' in run(training)
        assert leftover.wait(10) != 0 and training.done
        second = job(tmp_path, 'b')
        second.folder.mkdir()
        (second.folder / 'job.json').write_text(json.dumps(dict(fingerprint='f', process=other.pid)))
        assert 'left running' not in run(second)
        assert other.poll() is None
    finally:
        leftover.kill(), other.kill()
