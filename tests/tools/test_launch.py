"""The launch scripts: two processes over gloo, free ports, and their usage lines."""

import json
import os
import re
import subprocess

import pytest
import torch

from tests.conftest import ROOT
from tests.helpers.forked import run_python
from tests.helpers.missing import need_openmmlab

TOOLS = ROOT / 'tools'
CONFIG = ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'


def options(data_root, batch, iterations=6):
    return ['--cfg-options', f'train_dataloader.dataset.data_root={data_root}',
            f'val_dataloader.dataset.data_root={data_root}', f'test_dataloader.dataset.data_root={data_root}',
            f'train_dataloader.batch_size={batch}', f'train_cfg.max_iters={iterations}',
            f'train_cfg.val_interval={iterations}', f'param_scheduler.0.total_steps={iterations}']


def launch(environment, *command):
    result = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True,
                            timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def alone(environment, tool, *arguments):
    result = run_python(TOOLS / tool, *arguments, environment=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def miou(log):
    return float(re.findall(r'mIoU: +([\d.]+)', log)[-1])


def test_two_processes_train_and_test_like_one(cpu_environment, digit_scenes, tmp_path):
    common = ['--allow-random-backbone']
    log = launch(cpu_environment, TOOLS / 'dist_train.sh', CONFIG, 2, '--work-dir', tmp_path / 'two', *common,
                 *options(digit_scenes, 4))
    assert 'mmlocat: No CUDA device: processes talk over gloo' in log
    record, = json.loads((tmp_path / 'two' / 'provenance.json').read_text())['launches']  # one process writes it
    assert record['processes'] == 2 and record['total_batch'] == 8 and record['finished']['checkpoint']['sha256']
    alone(cpu_environment, 'train.py', CONFIG, '--work-dir', tmp_path / 'one', *common, *options(digit_scenes, 8))
    states = [torch.load(tmp_path / name / 'iter_6.pth', weights_only=False)['state_dict'] for name in ('one', 'two')]
    assert sum(name.startswith('decode_head') for name in states[0]) == 5
    assert not torch.equal(states[0]['decode_head.convs.0.gn.weight'], torch.ones(128))  # it did train
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], atol=1e-5), name

    check_uneven_test(cpu_environment, digit_scenes, tmp_path / 'two' / 'iter_6.pth', (1, 2), tmp_path, 7)


def check_uneven_test(environment, data_root, checkpoint, launches, folder, scenes):
    """Tests on scenes that the processes cannot share evenly: the samplers then hand out some twice."""
    assert any(scenes % processes for processes in launches)
    arguments = ['--work-dir', folder / 'test', *options(data_root, 2), f'test_dataloader.dataset.indices={scenes}']
    logs = [launch(environment, TOOLS / 'dist_test.sh', CONFIG, checkpoint, processes, *arguments) if processes > 1
            else alone(environment, 'test.py', CONFIG, checkpoint, *arguments) for processes in launches]
    assert len({miou(log) for log in logs}) == 1 and miou(logs[0]) > 0
    tests = json.loads((folder / 'test' / 'provenance.json').read_text())['tests']
    assert [test['processes'] for test in tests] == list(launches) and {test['images'] for test in tests} == {scenes}
    assert all(test['class_iou'] == tests[0]['class_iou'] for test in tests)
    return [test['metrics']['mIoU'] for test in tests]


@pytest.mark.soak
@pytest.mark.parametrize('scenes', [5, 8])
def test_uneven_tests_by_up_to_three_processes(scenes, cpu_environment, digit_scenes, tmp_path, figure):
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    init_default_scope('mmseg')
    weights = MODELS.build(Config.fromfile(str(CONFIG)).model).state_dict()
    # Background everywhere: right in some places, of each scene another share.
    weights['decode_head.conv_seg.bias'][0] = 1e3
    torch.save(dict(state_dict=weights), tmp_path / 'a.pth')
    found = check_uneven_test(cpu_environment, digit_scenes, tmp_path / 'a.pth', (1, 2, 3), tmp_path, scenes)
    figure('Distributed', f'largest difference of the mIoU of {scenes} scenes between 1, 2 and 3 processes',
           max(found) - min(found))


def test_a_failing_process_fails_the_launch(cpu_environment, tmp_path):
    need_openmmlab()
    result = subprocess.run([str(TOOLS / 'dist_train.sh'), str(CONFIG), '2', '--work-dir', str(tmp_path / 'w')],
                            env=cpu_environment, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert result.stderr.count('Error: the backbone is frozen and has no weights') == 1


@pytest.fixture
def fake_python(tmp_path, clean_environment):
    """A stand-in for the interpreter that prints how it was called."""
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\necho "$@"\n')
    script.chmod(0o755)
    return dict(clean_environment, PYTHON=str(script))


def test_addresses_come_from_the_environment(fake_python):
    command = [TOOLS / 'dist_train.sh', 'some.py', 8, '--resume']
    alone = launch(fake_python, *command)
    assert '--standalone' in alone and '--master_port' not in alone and '--nproc_per_node=8' in alone
    assert alone.rstrip().endswith('train.py some.py --resume --launcher pytorch')
    fixed = launch(dict(fake_python, PORT='12345'), *command)
    assert '--master_port=12345' in fixed and '--nnodes=1' in fixed
    nodes = launch(dict(fake_python, NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1'), *command)
    assert '--nnodes=2 --node_rank=1 --master_addr=10.0.0.1 --master_port=29500' in nodes
    test = launch(fake_python, TOOLS / 'dist_test.sh', 'some.py', 'a.pth', 4, '--out', 'x y')
    assert test.rstrip().endswith('test.py some.py a.pth --out x y --launcher pytorch')


def test_slurm_scripts_call_srun(clean_environment, tmp_path):
    (tmp_path / 'srun').write_text('#!/bin/sh\necho "$@" port=$MASTER_PORT\n')
    (tmp_path / 'srun').chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    environment = dict(clean_environment, PATH=path, GPUS='16', SRUN_ARGS='-q a')
    out = launch(environment, TOOLS / 'slurm_train.sh', 'gpu', 'job', 'some.py', '--amp')
    assert '--partition=gpu --job-name=job --gres=gpu:8 --ntasks=16 --ntasks-per-node=8' in out and '-q a' in out
    assert 'train.py some.py --amp --launcher slurm port=' in out
    ports = {launch(environment, TOOLS / 'slurm_train.sh', 'gpu', 'job', 'x.py').split('port=')[1] for _ in range(5)}
    assert len(ports) > 1
    environment.update(GPUS='4', PORT='12345')
    out = launch(environment, TOOLS / 'slurm_test.sh', 'gpu', 'job', 'some.py', 'a.pth')
    assert '--gres=gpu:4 --ntasks=4 --ntasks-per-node=4' in out
    assert out.rstrip().endswith('test.py some.py a.pth --launcher slurm port=12345')


@pytest.mark.parametrize(('arguments', 'variables', 'message'), [
    (['x.py', '0'], {}, "GPUS must be a positive whole number, got '0'"),
    (['x.py', 'two'], {}, "GPUS must be a positive whole number, got 'two'"),
    (['x.py', '--resume'], {}, "GPUS must be a positive whole number, got '--resume'"),
    (['x.py', '2'], dict(PORT='abc'), "PORT must be a positive whole number, got 'abc'"),
    (['x.py', '2'], dict(NNODES='x'), "NNODES must be a positive whole number, got 'x'"),
    (['x.py', '2'], dict(NNODES='2', NODE_RANK='2'), "NODE_RANK must be a whole number below NNODES (2), got '2'"),
    (['x.py', '2'], dict(NNODES='2', NODE_RANK='a'), "NODE_RANK must be a whole number below NNODES (2), got 'a'"),
    (['x.py', '2'], dict(NODE_RANK='1'), "NODE_RANK must be a whole number below NNODES (1), got '1'"),
])
def test_numbers_that_are_none(arguments, variables, message, fake_python):
    result = subprocess.run([str(TOOLS / 'dist_train.sh'), *arguments], env={**fake_python, **variables},
                            capture_output=True, text=True)
    assert result.returncode == 2 and message in result.stderr and not result.stdout


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_too_few_arguments_print_the_usage(script, clean_environment):
    result = subprocess.run([str(TOOLS / script), 'one'], env=clean_environment, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith('usage: ') and script in result.stderr
