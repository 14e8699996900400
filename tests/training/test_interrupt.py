"""Trainings that are killed or stopped, and go on with --resume, end where the uninterrupted one ends."""

import functools
import os
import random
import signal
import subprocess
import time

import pytest
import torch

from tests.conftest import ROOT
from tests.helpers.interrupted import (
    CLASSIFIER,
    SEGMENTOR,
    WHILE_SAVING,
    die,
    environments,
    finish,
    largest_difference,
    said,
    scalars,
    start,
    wait_for,
    write_config,
)

LINE = 'The same command with --resume goes on from there.'


def assert_same(work_dir, whole):
    """Asserts that weights, optimizer and log equal the uninterrupted run's, bit for bit; returns the difference."""
    difference = largest_difference(work_dir, whole)
    assert difference == 0
    assert scalars(work_dir) == scalars(whole)
    return difference


def logs(folder, process):
    return 'Checkpoints will be saved' in said(folder, process)


def run_with_kills(config, folder, kills, rng, moments, longest):
    """Kills and resumes a training ``kills`` times at most, then lets it end; returns the moments of the kills."""
    killed = []
    while len(killed) < kills:
        moment = moments.pop() if moments else 'any'
        process = start(config, folder, '--resume', prepare=None if moment == 'any' else functools.partial(
            die, moment, rng.randint(1, 2)))
        if moment == 'any':
            wait_for(functools.partial(logs, folder, process), process)
            time.sleep(rng.uniform(0, longest))
            process.kill()
        process.join()
        if process.exitcode == 0:
            return killed
        assert process.exitcode == -signal.SIGKILL, said(folder, process)[-3000:]
        killed.append(moment)
        named = folder / 'last_checkpoint'
        if named.exists():  # it never names what cannot be read
            torch.load(named.read_text(), weights_only=False)
    finish(folder, start(config, folder, '--resume'))
    return killed


@pytest.fixture(scope='module')
def whole(digit_scenes, tmp_path_factory):
    """A config and the work dir of its uninterrupted run."""
    folder = tmp_path_factory.mktemp('whole')
    config = write_config(folder, SEGMENTOR, digit_scenes, length=8, save=2, validate=4)
    finish(folder / 'run', start(config, folder / 'run'))
    assert len(scalars(folder / 'run')) == 8 + 2
    return config, folder / 'run'


def test_killed_twice(whole, tmp_path):
    """Once at any moment, once while a checkpoint is half written."""
    config, run = whole
    moments = ['half-written', 'any']
    assert run_with_kills(config, tmp_path / 'run', 2, random.Random(0), list(moments), longest=0.2) == moments[::-1]
    assert_same(tmp_path / 'run', run)


@pytest.mark.soak
def test_killed_twenty_times(digit_scenes, tmp_path, figure):
    """Half of the kills at any moment, half at the four points of saving a checkpoint."""
    rng = random.Random(1)
    config = write_config(tmp_path, SEGMENTOR, digit_scenes, length=40, save=4, validate=8)
    finish(tmp_path / 'whole', start(config, tmp_path / 'whole'))
    moments = [*WHILE_SAVING, *WHILE_SAVING, *rng.sample(WHILE_SAVING, 2), *10 * ['any']]
    rng.shuffle(moments)
    killed, differences = [], []
    while len(killed) < 20:
        folder = tmp_path / f'run{len(differences)}'
        killed += run_with_kills(config, folder, min(7, 20 - len(killed)), rng, moments, longest=6)
        differences.append(assert_same(folder, tmp_path / 'whole'))
    saving = sum(moment != 'any' for moment in killed)
    assert saving >= 8
    figure('Interrupted', 'kill -9 / trainings that went on',
           f'{len(killed)} / {len(killed)}, of them {saving} while a checkpoint was being saved')
    figure('Interrupted', 'largest difference of weights, optimizer state and log, killed and resumed against '
           'uninterrupted, 40 iterations (UperNet, augmentation, drop path, dropout)', max(differences))


@pytest.mark.parametrize('runner', ['Runner', pytest.param('FlexibleRunner', marks=pytest.mark.soak)])
def test_a_signal_in_the_middle_of_an_epoch(runner, digit_scenes, tmp_path, figure):
    """With two loading workers, which the signal reaches too."""
    config = write_config(tmp_path, CLASSIFIER, digit_scenes, length=2, save=1, validate=1, workers=2)
    config.write_text(f'{config.read_text()}runner_type = {runner!r}\n')
    finish(tmp_path / 'whole', start(config, tmp_path / 'whole'))
    process = start(config, tmp_path / 'run')
    wait_for(lambda: 'Epoch(train) [2][ 2/10]' in said(tmp_path / 'run', process), process)
    os.killpg(process.pid, signal.SIGTERM)
    text = finish(tmp_path / 'run', process, 143)
    assert text.rstrip().endswith(LINE) and 'Traceback' not in text
    saved = torch.load(tmp_path / 'run' / 'interrupted.pth', weights_only=False)
    stopped, told = saved['meta'], saved['message_hub']['runtime_info']
    assert told['last_ckpt'] == str(tmp_path / 'run' / 'interrupted.pth')  # for NonFiniteHook
    assert not [name for name in told if name.startswith(('train', 'val', 'test'))]  # mmengine logs them as metrics
    assert 10 < stopped['iter'] < 20 and stopped['epoch'] == 1
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == str(tmp_path / 'run' / 'interrupted.pth')
    finish(tmp_path / 'run', start(config, tmp_path / 'run', '--resume'))
    difference = assert_same(tmp_path / 'run', tmp_path / 'whole')
    assert (tmp_path / 'run' / 'interrupted.pth').exists() == (runner == 'FlexibleRunner')  # which keeps its own hook
    figure('Interrupted', 'largest difference after SIGTERM in the middle of an epoch and --resume (classifier, mixup, '
           f'two workers, {runner})', difference)


def test_two_processes_stop_at_the_same_iteration(digit_scenes, tmp_path, figure):
    """SIGUSR1 reaches one of them, as it does where each node has its own."""
    config = write_config(tmp_path, CLASSIFIER, digit_scenes, length=2, save=1, validate=2)

    def launch(folder, *arguments):
        return [start(config, folder, '--launcher', 'pytorch', *arguments, environment=environment)
                for environment in environments(2)]

    def end(folder, processes, expected=0):
        return [finish(folder, process, expected) for process in processes]

    end(tmp_path / 'whole', launch(tmp_path / 'whole'))
    processes = launch(tmp_path / 'run')
    wait_for(lambda: 'Epoch(train) [1][2/5]' in said(tmp_path / 'run', processes[0]), processes[0])
    os.kill(processes[1].pid, signal.SIGUSR1)
    first, second = end(tmp_path / 'run', processes, 138)
    assert LINE in first and 'Traceback' not in first + second
    end(tmp_path / 'run', launch(tmp_path / 'run', '--resume'))
    figure('Interrupted', 'largest difference after SIGUSR1 to one of two processes and --resume of both',
           assert_same(tmp_path / 'run', tmp_path / 'whole'))


@pytest.mark.soak
def test_a_signal_to_the_launch_script(digit_scenes, tmp_path, cpu_environment, figure):
    """As ``test_two_processes_stop_at_the_same_iteration``, by tools/dist_train.sh."""
    config = write_config(tmp_path, CLASSIFIER, digit_scenes, length=2, save=1, validate=2)
    folder = tmp_path / 'run'

    def launch(*arguments):
        return subprocess.Popen([str(ROOT / 'tools' / 'dist_train.sh'), str(config), '2', '--work-dir', *map(
            str, arguments)], env=cpu_environment, stdout=open(f'{folder}.out', 'a'), stderr=subprocess.STDOUT)

    assert launch(tmp_path / 'whole').wait(200) == 0
    process = launch(folder)
    while not list(folder.glob('*/vis_data/scalars.json')):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(100) == 138 and (folder / 'interrupted.pth').exists()
    assert launch(folder, '--resume').wait(200) == 0
    figure('Interrupted', 'largest difference after SIGUSR1 to tools/dist_train.sh with two processes and --resume',
           assert_same(folder, tmp_path / 'whole'))


def test_ctrl_c_ends_with_one_line(whole, tmp_path):
    config, _ = whole
    process = start(config, tmp_path / 'run')
    wait_for(lambda: 'Iter(train) [1/8]' in said(tmp_path / 'run', process), process)
    os.kill(process.pid, signal.SIGINT)
    text = finish(tmp_path / 'run', process, 130)
    log, = (tmp_path / 'run').glob('*/*.log')
    assert text.splitlines()[-1] == f'Stopped by Ctrl-C. The log: {log}' and 'Traceback' not in text


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full, a disk that is always full')
def test_a_full_disk(whole, tmp_path, figure):
    """While the second checkpoint is written; then there is room again."""
    config, run = whole
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / '.iter_4.pth.part').symlink_to('/dev/full')
    text = finish(folder, start(config, folder), 1)
    log, = folder.glob('*/*.log')
    assert text.splitlines()[-1] == (
        f'Error: checkpoint {folder}/iter_4.pth could not be written (No space left on device); {folder}/iter_2.pth is '
        f'whole: make room, then go on with --resume. The log: {log}')
    assert 'Traceback' not in text and 'No space left on device' in log.read_text()
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'iter_2.pth')
    finish(folder, start(config, folder, '--resume'))
    figure('Interrupted', 'largest difference after a full disk and --resume', assert_same(folder, run))
