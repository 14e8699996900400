"""Several processes compute what one does, through ``tools/dist_train.sh``; what happens when one of them dies."""

import os
import signal
import time
from contextlib import ExitStack
from types import SimpleNamespace

import psutil
import pytest
import torch
from mmengine.config import Config
from mmengine.utils import digit_version

from tests.conftest import ROOT
from tests.helpers.distributed_cases import FROZEN, case_name, plain, write_config
from tests.helpers.launching import finish, free_port, launched, wait_for

SECTION = 'Distributed'
TOTAL, ITERATIONS = 6, 3
CASES = [(head, *rest) for head in ('linear', 'upernet') for rest in (
    ('whole', 'kept'), ('whole', 'withcp'), ('half', 'kept'), ('half', 'runner'), ('frozen', 'kept'))]
SHARDED = [('linear', 'frozen', 'kept'), ('upernet', 'whole', 'withcp'), ('upernet', 'half', 'kept')]
TOLERANCE = 1e-5


def differences(one, other):
    """Returns the largest difference of losses, gradients and weights between two records."""
    assert len(one['losses']) == len(other['losses']) == ITERATIONS
    assert all(a.keys() == b.keys() and a for a, b in zip(one['losses'], other['losses']))
    loss = max(abs(a[name] - b[name]) for a, b in zip(one['losses'], other['losses']) for name in a)
    gradient = max((largest(a, b) for a, b in zip(one['gradients'], other['gradients'])), default=None)
    return SimpleNamespace(loss=loss, gradient=gradient, weight=largest(one['weights'], other['weights']))


def only(cases, record):
    """Returns the part of a record that belongs to some cases."""
    names = tuple(case_name(*case) for case in cases)

    def part(values, prefix):
        return {name: value for name, value in values.items() if name[len(prefix):].startswith(names)}

    return dict(losses=[part(values, 'train/') for values in record['losses']],
                gradients=[part(values, 'cases.') for values in record['gradients']],
                weights=part(record['weights'], 'cases.'))


def largest(one, other):
    assert one.keys() == other.keys() and one
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


@pytest.fixture(scope='module')
def runs(digit_scenes, tmp_path_factory):
    """The same training by one process, by FSDP with two, and by two on two nodes; one of these is then killed."""
    folder = tmp_path_factory.mktemp('distributed')

    def config(name, processes, cases=CASES, **options):
        return write_config(folder / f'{name}.py', cases, digit_scenes, TOTAL // processes, ITERATIONS,
                            folder / f'{name}.pth', **options)

    def record(name):
        return torch.load(folder / f'{name}.pth', weights_only=False)

    found = SimpleNamespace(record=record, config=config, folder=folder)
    shards = Config.fromfile(str(ROOT / 'configs' / '_base_' / 'fsdp.py'))
    with launched(config('one', 1), 1, folder / 'one') as one, \
            launched(config('sharded', 2, SHARDED, **shards), 2, folder / 'sharded') as found.sharded:
        time.sleep(0.5)
        found.together = one.process.poll() is None and found.sharded.process.poll() is None
        finish(one), found.sharded.process.wait(200)
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


def test_processes_train_as_one_with_the_same_total_batch(runs, figure):
    """Two on two nodes; ``test_the_whole_matrix`` has two and three on one."""
    one, several = runs.record('one'), runs.record('nodes')
    assert len(one['gradients']) == ITERATIONS and len(several['weights']) > 500
    assert len(one['gradients'][0]) > 300
    for case in CASES:
        first, last = (one['losses'][i][f'train/{case_name(*case)}.decode.loss_ce'] for i in (0, -1))
        assert abs(first - last) > 1e-3, f'{case} did not train'
    found = differences(one, several)
    for what in ('loss', 'gradient', 'weight'):
        figure(SECTION, f'largest difference of a {what} between 2 processes on 2 nodes and 1, {len(CASES)} models (2 '
               'heads; backbone trained, half frozen, frozen; activations kept and recomputed), SGD',
               getattr(found, what))
    assert max(vars(found).values()) < TOLERANCE, found


def test_recomputed_activations_give_the_same_gradients(runs):
    record = runs.record('one')
    for case in CASES:
        name = case_name(*case)
        if name == plain(name):
            continue
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
    for name in ('one', *(['sharded'] if has_sharding_on_cpus() else [])):
        assert (runs.folder / name / f'iter_{ITERATIONS}.pth').is_file()


def test_a_killed_rank_ends_all_nodes(runs, figure):
    assert runs.codes[1] == 128 + signal.SIGKILL and runs.codes[0] != 0 and not runs.alive
    figure(SECTION, 'seconds until every process of 2 nodes has ended after rank 1 was killed', runs.seconds)
    assert runs.seconds < 60
    assert f'exitcode  : -{signal.SIGKILL:d} (pid: {runs.killed})' in runs.said[1]
    assert 'rank      : 0 (local_rank: 0)' in runs.said[0]


def has_sharding_on_cpus():
    return digit_version(torch.__version__) >= digit_version('2.6')


def test_shards_train_as_one(runs, figure):
    sharded = runs.sharded
    if not has_sharding_on_cpus():
        assert sharded.process.returncode == 1
        return
    assert sharded.process.returncode == 0, sharded.read()[-4000:]
    one, record = runs.record('one'), runs.record('sharded')
    assert record['wrapper'] == 'MMFullyShardedDataParallel'
    found = differences(only(SHARDED, one), only(SHARDED, record))
    for what in ('loss', 'weight'):
        figure(SECTION, f'largest difference of a {what} between FSDP with 2 processes and 1 process, '
               f'{len(SHARDED)} models', getattr(found, what))
    assert found.loss < TOLERANCE and found.weight < TOLERANCE
    saved = torch.load(runs.folder / 'sharded' / f'iter_{ITERATIONS}.pth', weights_only=False)['state_dict']
    assert largest(saved, only(SHARDED, one)['weights']) < TOLERANCE  # whole, as one process writes it
    name = f'cases.{case_name(*SHARDED[0])}.backbone'
    assert saved._metadata[name]['ref_grid'] == one['weights']._metadata[name]['ref_grid'] == (6, 6)


@pytest.mark.soak
@pytest.mark.parametrize(('title', 'optimizer', 'weight_tolerance'), [
    ('SGD', None, TOLERANCE),
    ('AdamW', dict(type='AdamW', lr=1e-3), 10 * TOLERANCE),  # divides a gradient by its size: magnifies rounding
])
def test_the_whole_matrix(title, optimizer, weight_tolerance, digit_scenes, tmp_path, figure):
    """2 and 3 processes, both heads, every degree of freezing, every way to keep or recompute activations."""
    cases = [(head, frozen, checkpointing) for head in ('linear', 'upernet') for frozen in FROZEN
             for checkpointing in ('kept', 'withcp', 'runner')]
    records = []
    for processes in (1, 2, 3):
        name = f'run{processes}'
        config = write_config(tmp_path / f'{name}.py', cases, digit_scenes, TOTAL // processes, ITERATIONS,
                              tmp_path / f'{name}.pth', optimizer=optimizer)
        with launched(config, processes, tmp_path / name) as launch:
            finish(launch)
        records.append(torch.load(tmp_path / f'{name}.pth', weights_only=False))
    for head in ('linear', 'upernet'):
        own = [case for case in cases if case[0] == head]
        found = [differences(only(own, records[0]), only(own, record)) for record in records[1:]]
        for what in ('loss', 'gradient', 'weight'):
            worst = max(getattr(each, what) for each in found)
            figure(SECTION, f'largest difference of a {what} between 1 process and 2 or 3, {head} head, {len(own)} '
                   f'models (3 degrees of freezing, 3 ways to keep activations), {title}', worst)
            assert worst < (weight_tolerance if what == 'weight' else TOLERANCE), (head, what)


@pytest.mark.soak
def test_shards_resume_and_are_tested_whole(digit_scenes, tmp_path, figure):
    """A shipped leaf with _base_/fsdp.py: trained, resumed in the middle, and tested by the leaf alone."""
    if not has_sharding_on_cpus():
        pytest.skip(f'PyTorch {torch.__version__} has no FSDP on CPUs')
    leaf = ROOT / 'configs' / 'locatvit-nano_upernet_digitscenes.py'
    text = f"_base_ = ['{leaf}', '{ROOT / 'configs' / '_base_' / 'fsdp.py'}']\n"
    roots = {f'{part}_dataloader.dataset.data_root': str(digit_scenes) for part in ('train', 'val', 'test')}
    changes = {**roots, 'train_dataloader.batch_size': 4, 'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4,
               'param_scheduler.0.total_steps': 8, 'param_scheduler.0.end': 8, 'default_hooks.checkpoint.interval': 2,
               'model.decode_head.dropout_ratio': 0, 'model.auxiliary_head.dropout_ratio': 0}  # its masks start anew
    options = ['--cfg-options', *(f'{key}={value}' for key, value in changes.items())]
    (tmp_path / 'leaf.py').write_text(text)
    states = []
    for name, steps in (('whole', [4]), ('parts', [2, 4])):
        for step in steps:
            more = [*options, f'train_cfg.max_iters={step}', *(['--resume'] if step > steps[0] else [])]
            with launched(tmp_path / 'leaf.py', 2, tmp_path / name, more=more) as launch:
                finish(launch)
        states.append(torch.load(tmp_path / name / 'iter_4.pth', weights_only=False))
    assert 'resumed epoch: 0, iter: 2' in launch.read()
    figure(SECTION, 'largest difference of a weight between an FSDP training and one resumed in its middle',
           largest(states[0]['state_dict'], states[1]['state_dict']))
    assert largest(states[0]['state_dict'], states[1]['state_dict']) < TOLERANCE
    with launched(leaf, 2, tmp_path / 'test', tool='dist_test.sh', more=options,
                  checkpoint=tmp_path / 'parts' / 'iter_4.pth') as launch:
        finish(launch)
    assert 'mIoU' in launch.read()


@pytest.mark.soak
@pytest.mark.parametrize('killed', [0, 2])
def test_a_killed_rank_ends_its_launch(killed, digit_scenes, tmp_path, figure):
    """On one node one launcher sees them all fail, and names the one that was killed."""
    record = tmp_path / 'run.pth'
    config = write_config(tmp_path / 'run.py', SHARDED, digit_scenes, 2, ITERATIONS, record, last=100000)
    with launched(config, 3, tmp_path / 'run') as launch:
        wait_for(record, [launch])
        workers = [int((tmp_path / 'run.pth.pids' / str(rank)).read_text()) for rank in range(3)]
        os.kill(workers[killed], signal.SIGKILL)
        began = time.monotonic()
        assert launch.process.wait(120) == 128 + signal.SIGKILL
        seconds = time.monotonic() - began
        figure(SECTION, f'seconds until 3 processes of one node have ended after rank {killed} was killed', seconds)
        assert seconds < 60 and not any(psutil.pid_exists(pid) for pid in workers)
        assert f'exitcode  : -{signal.SIGKILL:d} (pid: {workers[killed]})' in launch.read()


@pytest.mark.soak
@pytest.mark.parametrize('arm', ['locatvit-nano', 'locatvit-nano-gaug', 'locatvit-nano-prr', 'vit-nano'])
def test_classifiers_leave_no_parameter_unused(arm, digit_scenes, tmp_path):
    """With and without GAug and PRR; DistributedDataParallel complains in the second step."""
    roots = [f'{part}_dataloader.dataset.data_root={digit_scenes}' for part in ('train', 'val', 'test')]
    options = ['--cfg-options', *roots, 'train_dataloader.batch_size=16', 'train_cfg.max_epochs=1',
               'default_hooks.logger.interval=1', 'find_unused_parameters=False']
    with launched(ROOT / 'configs' / f'{arm}_digitscenes.py', 2, tmp_path / 'run', more=options) as launch:
        finish(launch)
    assert 'Epoch(train) [1][5/5]' in launch.read()
