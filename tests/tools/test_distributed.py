"""Several processes compute what one does, through ``tools/dist_train.sh``; what happens when one of them dies."""

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from conftest import ROOT, child_environment
from distributed_cases import FROZEN, case_name, plain, write_config
from mmengine.config import Config
from mmengine.utils import digit_version

TRAIN = ROOT / 'tools' / 'dist_train.sh'
SECTION = 'Distributed'
TOTAL, ITERATIONS = 6, 3
CASES = [(head, frozen, checkpointing) for head in ('linear', 'upernet') for frozen in FROZEN
         for checkpointing in ('kept', 'withcp', 'runner')]
TOLERANCE = 1e-5


@contextmanager
def launched(config, processes, work_dir, **variables):
    """Starts ``dist_train.sh``; whatever still runs at the end is ended."""
    log = work_dir.with_suffix(f'.{variables.get("NODE_RANK", 0)}.log')
    environment = {**child_environment(), **{name: str(value) for name, value in variables.items()}}
    environment['PYTHONPATH'] = f'{ROOT}{os.pathsep}{ROOT / "tests"}'
    with open(log, 'w') as file:
        process = subprocess.Popen(
            [str(part) for part in (TRAIN, config, processes, '--work-dir', work_dir)], env=environment, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield SimpleNamespace(process=process, read=log.read_text, work_dir=work_dir)
    finally:
        left = [process, *children(process)] if process.poll() is None else []
        for each in left:
            each.kill()
        process.wait()


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def finish(launch, timeout=200):
    code = launch.process.wait(timeout)
    assert code == 0, f'exit code {code}\n{launch.read()[-4000:]}'


def wait_for(path, launches, timeout=200):
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end and all(launch.process.poll() is None for launch in launches), (
            '\n'.join(launch.read()[-3000:] for launch in launches))
        time.sleep(0.1)


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def differences(one, other):
    """Returns the largest difference of losses, gradients and weights between two records."""
    assert len(one['losses']) == ITERATIONS and one['losses'][0].keys() == other['losses'][0].keys()
    loss = max(abs(a[name] - b[name]) for a, b in zip(one['losses'], other['losses']) for name in a)
    gradient = max((largest(a, b) for a, b in zip(one['gradients'], other['gradients'])), default=None)
    return SimpleNamespace(loss=loss, gradient=gradient, weight=largest(one['weights'], other['weights']))


def largest(one, other):
    assert one.keys() == other.keys() and one
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.fixture(scope='module')
def runs(digit_scenes, tmp_path_factory):
    """The same training by one process, by three, and by two on two nodes; one of the two is then killed."""
    folder = tmp_path_factory.mktemp('distributed')

    def config(name, processes, **options):
        return write_config(folder / f'{name}.py', CASES, digit_scenes, TOTAL // processes, ITERATIONS,
                            folder / f'{name}.pth', **options)

    def record(name):
        return torch.load(folder / f'{name}.pth', weights_only=False)

    found = SimpleNamespace(record=record, config=config, folder=folder)
    with launched(config('one', 1), 1, folder / 'one') as one, \
            launched(config('three', 3), 3, folder / 'three') as three:
        time.sleep(0.5)
        found.together = one.process.poll() is None and three.process.poll() is None
        finish(one), finish(three)
    port = free_port()
    nodes_config = config('nodes', 2, last=100000)
    with ExitStack() as stack:
        nodes = [stack.enter_context(launched(
            nodes_config, 1, folder / 'nodes', NNODES=2, NODE_RANK=node, MASTER_ADDR='127.0.0.1', PORT=port))
            for node in (0, 1)]
        wait_for(folder / 'nodes.pth', nodes)
        workers = [int((folder / 'nodes.pth.pids' / str(rank)).read_text()) for rank in (0, 1)]
        os.kill(workers[1], signal.SIGKILL)
        began = time.monotonic()
        found.codes = [node.process.wait(120) for node in nodes]
        found.seconds = time.monotonic() - began
        found.alive = [pid for pid in workers if psutil.pid_exists(pid)]
        found.said = [node.read() for node in nodes]
    found.killed = workers[1]
    return found


@pytest.mark.parametrize(('name', 'title'), [('three', '3 processes'), ('nodes', '2 processes on 2 nodes')])
def test_processes_train_as_one_with_the_same_total_batch(name, title, runs, figure):
    one, several = runs.record('one'), runs.record(name)
    assert len(one['gradients']) == ITERATIONS and len(several['weights']) > 500
    for case in CASES:
        first, last = (one['losses'][i][f'train/{case_name(*case)}.decode.loss_ce'] for i in (0, -1))
        assert abs(first - last) > 1e-3, f'{case} did not train'
    found = differences(one, several)
    for what in ('loss', 'gradient', 'weight'):
        figure(SECTION, f'largest difference of a {what} between {title} and 1, {len(CASES)} models (2 heads; backbone '
               'trained, half frozen, frozen; activations kept and recomputed), SGD', getattr(found, what))
    assert max(vars(found).values()) < TOLERANCE, found


def test_recomputed_activations_give_the_same_gradients(runs):
    record = runs.record('one')
    for case in CASES:
        name = case_name(*case)
        assert record['losses'][0][f'train/{name}.decode.loss_ce'] == pytest.approx(
            record['losses'][0][f'train/{plain(name)}.decode.loss_ce'], abs=1e-6)
        own = {key: value for key, value in record['gradients'][0].items() if key.startswith(f'cases.{name}.')}
        blocks = {key.split('.')[4] for key in own if '.backbone.layers.' in key}
        assert len(blocks) == 4 - max(FROZEN[case[1]], 0)
        for key, value in own.items():
            kept = record['gradients'][0][key.replace(name, plain(name))]
            assert torch.allclose(value, kept, atol=1e-6), key
            if key.endswith('attn.qkv.weight'):  # also of the first block above frozen ones
                assert value.abs().max() > 1e-5, key


def test_two_launches_at_once_do_not_collide(runs):
    assert runs.together
    assert [(runs.folder / name / f'iter_{ITERATIONS}.pth').is_file() for name in ('one', 'three')] == [True, True]


def test_a_killed_rank_ends_all_nodes(runs, figure):
    assert runs.codes[1] == 128 + signal.SIGKILL and runs.codes[0] != 0 and not runs.alive
    figure(SECTION, 'seconds until every process of 2 nodes has ended after rank 1 was killed', runs.seconds)
    assert runs.seconds < 60
    last = runs.said[1].strip().splitlines()[-1]
    assert last.startswith(f'mmlocat: rank 1 (process {runs.killed} on ') and 'was killed by SIGKILL' in last
    assert 'rank 0 (process ' in runs.said[0].strip().splitlines()[-1]
    log = Path(last.split('the log is ')[1].rstrip('.'))
    assert runs.folder / 'nodes' in log.parents and 'Iter(train)' in log.read_text()


def has_sharding_on_cpus():
    return digit_version(torch.__version__) >= digit_version('2.6')


@pytest.fixture(scope='module')
def sharded(runs):
    """The same training by FSDP with two processes."""
    base = Config.fromfile(str(ROOT / 'configs' / '_base_' / 'fsdp.py'))
    config = runs.config('sharded', 2, **base, activation_checkpointing=None)
    with launched(config, 2, runs.folder / 'sharded') as launch:
        launch.process.wait(200)
    return launch


def test_shards_train_as_one(sharded, runs, figure):
    if not has_sharding_on_cpus():
        assert sharded.process.returncode == 1
        assert 'Error: FSDP on CPUs needs a newer PyTorch than ' in sharded.read()
        return
    assert sharded.process.returncode == 0, sharded.read()[-4000:]
    assert 'FullyShardedDataParallel' in sharded.read()
    one, several = runs.record('one'), runs.record('sharded')
    found = differences(one, several)
    for what in ('loss', 'weight'):
        figure(SECTION, f'largest difference of a {what} between FSDP with 2 processes and 1 process, the same models',
               getattr(found, what))
    assert found.loss < TOLERANCE and found.weight < TOLERANCE
    saved = torch.load(runs.folder / 'sharded' / f'iter_{ITERATIONS}.pth', weights_only=False)['state_dict']
    assert largest(saved, one['weights']) < TOLERANCE  # whole, as one process writes it
    name = f'cases.{case_name(*CASES[0])}.backbone'
    assert saved._metadata[name]['ref_grid'] == one['weights']._metadata[name]['ref_grid'] == (6, 6)


@pytest.mark.soak
@pytest.mark.parametrize('checkpointing', ['kept', 'withcp', 'runner'])
@pytest.mark.parametrize('frozen', ['whole', 'frozen'])
@pytest.mark.parametrize('head', ['linear', 'upernet'])
def test_matrix_of_single_models(head, frozen, checkpointing, digit_scenes, tmp_path, figure):
    """Every model by itself, with the recipe's AdamW too; the ordinary suite trains them together."""
    worst = []
    for optimizer in (None, dict(type='AdamW', lr=1e-3, eps=1e-3)):
        records = []
        for processes in (1, 2, 3):
            name = f'{"sgd" if optimizer is None else "adamw"}{processes}'
            config = write_config(tmp_path / f'{name}.py', [(head, frozen, checkpointing)], digit_scenes,
                                  TOTAL // processes, ITERATIONS, tmp_path / f'{name}.pth', optimizer=optimizer)
            with launched(config, processes, tmp_path / name) as launch:
                finish(launch)
            records.append(torch.load(tmp_path / f'{name}.pth', weights_only=False))
        worst += [differences(records[0], record) for record in records[1:]]
    for what in ('loss', 'gradient', 'weight'):
        figure(SECTION, f'largest difference of a {what} between 1 process and 2 or 3, SGD and AdamW: '
               f'{head} head, backbone {frozen}, activations {checkpointing}',
               max(getattr(found, what) for found in worst))
    assert max(max(vars(found).values()) for found in worst) < TOLERANCE
