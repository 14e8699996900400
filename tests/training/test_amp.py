"""Mixed precision on the CPU: the wrapper by itself, and trainings in bfloat16 beside float32."""

import copy
import functools
import itertools
import statistics

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmlocat.training import cli
from mmlocat.training.amp import CPUAmpOptimWrapper, check_precision, enable_amp, move_amp_to_cpu
from mmlocat.training.context import Context
from tests.conftest import ROOT

CONFIGS = ROOT / 'configs'
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA: mmengine\'s own wrapper runs')


def test_casts_inside_its_context_alone():
    layer = nn.Linear(4, 3)
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    with wrapper.optim_context(layer):
        assert layer(torch.ones(2, 4)).dtype == torch.bfloat16
    assert layer(torch.ones(2, 4)).dtype == torch.float32


def test_resumes_from_any_precision():
    """A checkpoint of mmengine's wrapper on a GPU holds the state of a loss scaler too."""
    def wrappers():
        for kind in (OptimWrapper, CPUAmpOptimWrapper):
            weight = nn.Parameter(torch.tensor([1., -2., 3.]))
            wrapper = kind(optimizer=torch.optim.AdamW([weight], lr=0.1))
            wrapper.update_params(weight.sum())
            yield wrapper

    for source in wrappers():
        for target in wrappers():
            state = copy.deepcopy(source.state_dict())  # as from a file: no tensor is shared
            target.load_state_dict({**state, 'loss_scaler': dict(scale=1024.)})
            assert target.optimizer.state_dict()['state'][0]['step'] == 1
            assert 'loss_scaler' not in target.state_dict()
            target.update_params(target.optimizer.param_groups[0]['params'][0].sum())


@pytest.mark.parametrize('dtype', [None, 'float16', 'bfloat16', torch.float16])
def test_every_mixed_precision_becomes_bfloat16(dtype):
    config = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype=dtype, loss_scale='dynamic')))
    assert move_amp_to_cpu(config) == 'bfloat16' and config.optim_wrapper == dict(type='CPUAmpOptimWrapper')


def test_a_wrapper_of_ones_own_stays():
    class Own(AmpOptimWrapper):
        pass

    config = Config(dict(optim_wrapper=dict(type=Own)))
    enable_amp(config)
    assert config.optim_wrapper.type is Own


def test_what_it_cannot_do_it_says():
    with pytest.raises(ValueError, match='dtype=float32: mixed precision takes bfloat16 or float16'):
        move_amp_to_cpu(Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', dtype=torch.float32))))
    with pytest.raises(ValueError, match="--amp needs optim_wrapper.type='OptimWrapper', got 'DeepSpeedOptimWrapper'"):
        enable_amp(Config(dict(optim_wrapper=dict(type='DeepSpeedOptimWrapper'))))
    with pytest.raises(ValueError, match='optim_wrapper.dtype=float16 is of mixed precision: add --amp'):
        check_precision(Config(dict(optim_wrapper=dict(type='OptimWrapper', dtype='float16'))), Context())


def test_layer_wise_rates_go_with_it():
    config = Config.fromfile(CONFIGS / 'locatvit-nano_digitscenes.py')
    init_default_scope('mmpretrain')
    model = MODELS.build(config.model)
    config.optim_wrapper.constructor = 'LayerDecayOptimWrapperConstructor'
    config.optim_wrapper.paramwise_cfg = dict(layer_decay_rate=0.5)
    enable_amp(config)
    assert move_amp_to_cpu(config) == 'bfloat16'
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert type(wrapper) is CPUAmpOptimWrapper
    assert len({group['lr'] for group in wrapper.optimizer.param_groups}) == 6


def options(data_root, precision, *more):
    """Arguments of a training in a precision."""
    amp = [] if precision == 'float32' else ['--amp']
    more = more if precision == 'float32' else (f'optim_wrapper.dtype={precision}', *more)
    return [*amp, '--allow-random-backbone', '--cfg-options', *(
        f'{loader}_dataloader.dataset.data_root={data_root}' for loader in ('train', 'val', 'test')), *more]


_numbers = itertools.count()


def train(name, work_dir, data_root, precision, *more, resume=()):
    # A name of its own: runs of one second would share MMEngine's record of losses.
    job = cli.training_job([str(CONFIGS / name), '--work-dir', str(work_dir), *resume, *options(
        data_root, precision, *more, f'experiment_name=run{next(_numbers)}')])
    job()
    runner = job.__self__
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())
    return runner, [float(loss) for loss in losses]


CLASSIFIER = 'locatvit-nano_digitscenes.py'
SEGMENTOR = 'locatvit-nano_linear_digitscenes.py'
STEPS = 2815  # 5 epochs of 36,000 images in batches of 64


def short(name, steps):
    if name == CLASSIFIER:
        return (f'train_cfg.max_epochs={steps // 10}', 'train_cfg.val_interval=99', 'train_dataloader.batch_size=8',
                'train_dataloader.dataset.indices=80')
    return (f'train_cfg.max_iters={steps}', f'train_cfg.val_interval={steps}', f'param_scheduler.0.total_steps={steps}',
            'train_dataloader.batch_size=4')


@pytest.fixture(scope='module')
def in_float32(digit_scenes, tmp_path_factory):
    """Gives the losses of 30 steps in float32, of three seeds."""

    @functools.lru_cache(maxsize=None)
    def losses(name):
        return [train(name, tmp_path_factory.mktemp('float32'), digit_scenes, 'float32', *short(name, 30),
                      f'randomness.seed={seed}')[1] for seed in range(3)]

    return losses


@pytest.mark.parametrize('name', [pytest.param(CLASSIFIER, marks=pytest.mark.soak), SEGMENTOR])
def test_thirty_steps_follow_float32(name, in_float32, digit_scenes, tmp_path, figure):
    runner, losses = train(name, tmp_path, digit_scenes, 'bfloat16', *short(name, 30))
    assert isinstance(runner.optim_wrapper, CPUAmpOptimWrapper) and len(losses) == 30
    assert losses != in_float32(name)[0]  # it did compute in another precision
    ends = [statistics.mean(run[-5:]) for run in in_float32(name)]
    spread = max(ends) - min(ends)
    apart = abs(statistics.mean(losses[-5:]) - ends[0])
    model = 'classifier' if name == CLASSIFIER else 'linear head'
    figure('Precision', f'bfloat16, {model}, 30 steps: last losses apart from float32 of the same seed (largest '
           'difference between 3 seeds of float32)', f'{apart:.2g} ({spread:.2g})')
    assert apart < spread


@pytest.fixture
def long_training(tmp_path_factory):
    """Trains the classifier as its recipe says; returns top-1 in percent and the mean of the last 100 losses.

    All of it: with a few thousand images learning has just taken off, and where a run ends is chance.
    """
    from mmlocat.datasets.digit_scenes import DigitScenesSpec, prepare_digit_scenes
    data = prepare_digit_scenes(tmp_path_factory.mktemp('long') / 'data', DigitScenesSpec(
        segmentation=(8, 4, 4)), progress=False)

    def long_training(precision, seed):
        runner, losses = train(CLASSIFIER, tmp_path_factory.mktemp(precision), data, precision,
                               'train_cfg.val_interval=5', f'randomness.seed={seed}')
        assert len(losses) == runner.iter == STEPS and all(0 <= loss < 100 for loss in losses)
        return runner.message_hub.get_scalar('val/accuracy/top1').current(), statistics.mean(losses[-100:])

    return long_training


@pytest.mark.soak
def test_thousands_of_steps_end_within_the_noise_of_float32(long_training, figure):
    """One test of both, which share the trainings in float32."""
    in_float32 = [long_training('float32', seed) for seed in range(3)]
    figure('Precision', f'{STEPS:,} steps in float32, 3 seeds: top-1 (loss)',
           ', '.join(f'{top1:.2f} ({loss:.3f})' for top1, loss in in_float32))
    result = long_training('bfloat16', 0)
    figure('Precision', f'{STEPS:,} steps in bfloat16, seed 0: top-1 (loss)', f'{result[0]:.2f} ({result[1]:.3f})')
    for value, known in zip(result, zip(*in_float32)):
        # 95% prediction interval of one more run, from three (Student's t of two degrees of freedom: 4.30).
        assert abs(value - statistics.mean(known)) <= 4.3 * statistics.stdev(known) * (1 + 1 / 3)**0.5
    assert result[0] > 90  # of ten classes: it learnt
