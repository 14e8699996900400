"""Every tool can be stopped by Ctrl-C with one line, and long loops say where they are."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mmlocat.utils import stoppable, with_progress
from tests.conftest import ROOT

TOOLS = sorted([*(ROOT / 'tools').rglob('*.py'), *(ROOT / 'demo').glob('*.py')])
signals_come = pytest.mark.skipif(threading.current_thread() is not threading.main_thread(),
                                  reason='Python delivers signals to the main thread alone')


def test_ctrl_c_is_one_line_and_130(capsys):
    with pytest.raises(SystemExit) as end, stoppable(lambda: 'The log: a.log'):
        raise KeyboardInterrupt
    assert end.value.code == 130 and capsys.readouterr().err == 'Stopped by Ctrl-C. The log: a.log\n'


@signals_come
def test_sigterm_is_one_line_and_143(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, stoppable():
        with stoppable():  # as the trainer's command line, in whose main function there is another
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    assert end.value.code == 143 and capsys.readouterr().err == 'Stopped by SIGTERM.\n'
    assert signal.getsignal(signal.SIGTERM) is before


def wait_long(begun):
    begun.set()
    time.sleep(100)


@signals_come
def test_sigterm_ends_forked_children_at_once():
    fork = multiprocessing.get_context('fork')
    begun = fork.Event()
    with stoppable():
        child = fork.Process(target=wait_long, args=(begun, ))
        child.start()
        assert begun.wait(20)  # Python drops a signal that comes while it forks
        child.terminate()
        child.join(20)
    assert child.exitcode == -signal.SIGTERM


@signals_come
@pytest.mark.parametrize('environment', [dict(RANK='0'), dict(SLURM_PROCID='0', SLURM_STEP_NUM_TASKS='8'),
                                         dict(OMPI_COMM_WORLD_SIZE='2')], ids=['torchrun', 'slurm', 'mpi'])
def test_sigterm_keeps_its_own_way_where_processes_wait_for_one_another(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize('environment', [
    dict(RANK='1'), dict(SLURM_PROCID='1'), dict(OMPI_COMM_WORLD_RANK='1'),
    dict(OMPI_COMM_WORLD_RANK='1', SLURM_PROCID='0'),  # mpirun in a script of sbatch
], ids=' '.join)
def test_of_several_processes_the_first_says_so(environment, capsys, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end, stoppable():
        raise KeyboardInterrupt
    assert end.value.code == 130 and not capsys.readouterr().err


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_tool_is_stoppable(tool):
    main = tool.read_text().split("if __name__ == '__main__':\n")[-1]
    assert 'with stoppable():' in main


def test_a_tool_stopped_while_it_works(clean_environment, tmp_path):
    """For real: the benchmark, while it measures."""
    pytest.importorskip('rich', reason='rich, which the extra "demo" brings, is not installed')
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'tools' / 'benchmark' / 'attention.py'), '--grids', '8', '--heads', '2',
         '--seconds', '60', '--no-memory', '--work-dir', str(tmp_path)],
        env=clean_environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL))  # a shell may ignore it
    assert process.stderr.readline().startswith('mmlocat ')
    assert process.stderr.readline().startswith('[1/')
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == 'Stopped by Ctrl-C.\n' and not out


def test_kept_items_take_no_part_in_the_eta(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 10.0])
    monkeypatch.setattr(time, 'monotonic', lambda: next(clock))
    assert list(with_progress('abc', str.upper, known=lambda item: item == 'a')) == ['a', 'b', 'c']
    assert capsys.readouterr().err.splitlines() == ['[1/3] A, kept', '[2/3] B', '[3/3] C, ETA 0:00:10']


def test_progress_has_an_eta(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 20.0])
    monkeypatch.setattr(time, 'monotonic', lambda: next(clock))
    assert list(with_progress('abc', str.upper)) == ['a', 'b', 'c']
    assert capsys.readouterr().err.splitlines() == ['[1/3] A', '[2/3] B, ETA 0:00:20', '[3/3] C, ETA 0:00:10']


WORKER = """
import os, signal, sys, time
def end(number, frame):
    open(f'{sys.argv[1]}/ended{os.environ["RANK"]}', 'w').write(str(number))
    os._exit(128 + number)
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, end)
open(f'{sys.argv[1]}/ready{os.environ["RANK"]}', 'w').close()
time.sleep(100)
"""


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGUSR1, 138), (signal.SIGTERM, 143)])
def test_the_launcher_hands_signals_on(number, code, clean_environment, tmp_path):
    """A signal to dist_train.sh reaches every process, which may take its time to save."""
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text(WORKER)
    for name in ('dist_train.sh', '_launch.sh'):
        (tmp_path / 'tools' / name).symlink_to(ROOT / 'tools' / name)
    (tmp_path / 'mmlocat').symlink_to(ROOT / 'mmlocat')
    process = subprocess.Popen(['bash', str(tmp_path / 'tools' / 'dist_train.sh'), str(tmp_path), '2'],
                               env=clean_environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not all((tmp_path / f'ready{rank}').exists() for rank in range(2)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == code, err
    assert [(tmp_path / f'ended{rank}').read_text() for rank in range(2)] == 2 * [str(int(number))]
    assert err.splitlines()[-1] == f'mmlocat: the launcher received {number.name}; its processes have ended.'
    assert 'Traceback' not in err
