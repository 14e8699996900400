"""CheckedRunner by itself: models that are not LocAtViT, every form of a type, one build and one look at a file."""

import itertools
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS, MODELS, OPTIM_WRAPPERS
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmlocat.checkpoints import reader
from mmlocat.config import load_config, resolve_type
from mmlocat.models import LocAtViT
from mmlocat.training import CheckedFlexibleRunner, CheckedRunner, amp, runner_class
from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from mmlocat.training.context import Context
from mmlocat.training.fsdp import wrap_transformer_blocks
from mmlocat.training.hardware import adapt_to_hardware
from mmlocat.training.initial_weights import on_meta
from mmlocat.training.interrupt import EpochLoop
from mmlocat.training.saving import AtomicCheckpointHook
from tests.conftest import ROOT

LINEAR = str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py')
_numbers = itertools.count()


def forms(kind, module):
    """Every way in which a config of mmseg can name a class."""
    return [kind.__name__, f'mmpretrain.{kind.__name__}', f'mmengine.{kind.__name__}', kind,
            LazyObject(module, kind.__name__)]


def plain_config(data_root, work_dir, **changes):
    """A segmentor of mmseg alone, on DigitScenes."""
    config = load_config(LINEAR)
    config.model = dict(
        type='EncoderDecoder',
        data_preprocessor=config.model.data_preprocessor,
        backbone=dict(type='VisionTransformer', img_size=36, patch_size=4, embed_dims=16, num_layers=2, num_heads=2,
                      mlp_ratio=2, out_indices=[1], interpolate_mode='bicubic'),
        decode_head=dict(type='FCNHead', in_channels=16, in_index=0, channels=16, num_convs=1, num_classes=11,
                         norm_cfg=dict(type='SyncBN', requires_grad=True)),
        test_cfg=dict(mode='whole'))
    for name in ('train', 'val', 'test'):
        config[f'{name}_dataloader'].dataset.data_root = str(data_root)
    config.merge_from_dict({
        'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4, 'param_scheduler.0.total_steps': 8,
        'default_hooks.checkpoint.interval': 2, 'train_dataloader.batch_size': 4, 'work_dir': str(work_dir),
        'experiment_name': f'plain{next(_numbers)}'})
    config.pop('checkpoint')
    config.merge_from_dict(changes)
    return config


def test_a_model_of_mmseg_alone_trains_resumes_and_is_tested(digit_scenes, tmp_path):
    trained = CheckedRunner.from_cfg(plain_config(digit_scenes, tmp_path / 'a'))
    whole = trained.train().state_dict()
    (tmp_path / 'a' / 'last_checkpoint').write_text(str(tmp_path / 'a' / 'iter_2.pth'))
    resumed = CheckedRunner.from_cfg(plain_config(digit_scenes, tmp_path / 'a', resume=True))
    assert all(torch.equal(value, whole[name]) for name, value in resumed.train().state_dict().items())
    assert resumed.context.resumed == str(tmp_path / 'a' / 'iter_2.pth')
    assert 0 <= resumed.test()['mIoU'] <= 100  # what it has learned, whatever load_from says
    config = plain_config(digit_scenes, tmp_path / 'b', load_from=str(tmp_path / 'a' / 'iter_4.pth'))
    assert 0 <= CheckedRunner.from_cfg(config).test()['mIoU'] <= 100
    config.model.decode_head.channels = 8
    with pytest.raises(RuntimeError, match='iter_4.pth does not fit the model of this config'):
        CheckedRunner.from_cfg(config).test()


@pytest.fixture(scope='module')
def runner(digit_scenes, tmp_path_factory):
    return CheckedRunner.from_cfg(plain_config(digit_scenes, tmp_path_factory.mktemp('plain')))


def test_preparing_twice_is_preparing_once(runner):
    runner.prepare_training()
    hooks, optimizer = list(runner.hooks), runner.optim_wrapper
    runner.prepare_training()
    assert runner.hooks == hooks and runner.optim_wrapper is optimizer


def test_any_transformer_block_is_a_unit_of_fsdp(runner):
    units = [module for module in runner.model.modules() if wrap_transformer_blocks(module, False, 0)]
    assert units == list(runner.model.backbone.layers)


@pytest.mark.parametrize('kind', forms(CheckpointHook, 'mmengine.hooks'), ids=str)
def test_every_checkpoint_hook_saves_whole_files(kind, runner):
    assert resolve_type(dict(type=kind), HOOKS, 'mmseg') is CheckpointHook
    runner.register_hook(dict(type=kind, interval=7))
    hook, = (hook for hook in runner.hooks if getattr(hook, 'interval', None) == 7)
    assert type(hook) is AtomicCheckpointHook
    runner.hooks.remove(hook)


@pytest.mark.parametrize('kind', [*forms(EpochBasedTrainLoop, 'mmengine.runner'), None], ids=str)
def test_every_epoch_goes_on_in_its_middle(kind, runner):
    named = dict(by_epoch=True) if kind is None else dict(type=kind)
    assert type(runner.build_train_loop(dict(named, max_epochs=1))) is EpochLoop


@pytest.mark.parametrize('kind', [*forms(OptimWrapper, 'mmengine.optim'), None], ids=str)
def test_every_optim_wrapper_gets_mixed_precision(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = Config(dict(default_scope='mmseg', optim_wrapper=dict(optimizer=dict(type='SGD', lr=1))))
    if kind is not None:
        config.optim_wrapper.type = kind
    amp.enable_amp(config)
    assert resolve_type(config.optim_wrapper, OPTIM_WRAPPERS) is AmpOptimWrapper
    adapt_to_hardware(config, Context())
    assert config.optim_wrapper.type == 'CPUAmpOptimWrapper'


@pytest.mark.parametrize('kind', forms(AmpOptimWrapper, 'mmengine.optim'), ids=str)
def test_every_mixed_precision_runs_on_a_cpu(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = Config(dict(default_scope='mmseg', optim_wrapper=dict(type=kind, optimizer=dict(type='SGD', lr=1))))
    adapt_to_hardware(config, Context())
    assert config.optim_wrapper.type == 'CPUAmpOptimWrapper'


@pytest.mark.parametrize('kind', ['SyncBN', 'mmpretrain.SyncBN', 'mmengine.SyncBN', torch.nn.SyncBatchNorm], ids=str)
def test_every_sync_bn_runs_as_bn_on_a_cpu(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = Config(dict(default_scope='mmseg', model=dict(decode_head=[dict(norm_cfg=dict(type=kind, eps=1e-3))])))
    adapt_to_hardware(config, Context())
    assert config.model.decode_head[0].norm_cfg == dict(type='BN', eps=1e-3)


def test_what_nobody_registered_is_none():
    for node in ('NoSuchHook', dict(type='NoSuchHook'), dict(), None):
        assert resolve_type(node, HOOKS, 'mmseg') is None


def test_a_runner_gets_the_checks_by_whatever_name():
    class Own(Runner):
        pass

    assert runner_class(Config({})) is CheckedRunner
    for kind in (*forms(Runner, 'mmengine.runner'), *forms(CheckedRunner, 'mmlocat.training')):
        assert runner_class(Config(dict(default_scope='mmseg', runner_type=kind))) is CheckedRunner
    own = runner_class(Config(dict(runner_type=Own)))
    assert issubclass(own, CheckedRunner) and issubclass(own, Own)
    with pytest.raises(ValueError, match="runner_type='Rnner' is neither a Runner nor a FlexibleRunner"):
        runner_class(Config(dict(runner_type='Rnner')))


@pytest.fixture
def counted(monkeypatch):
    """Counts the models that are built and the checkpoints that are opened."""
    count = dict(models=0, files=0)

    def counting(name, function):
        def call(*args, **kwargs):
            count[name] += 1
            return function(*args, **kwargs)
        return call

    monkeypatch.setattr(LocAtViT, '__init__', counting('models', LocAtViT.__init__))
    monkeypatch.setattr(reader, 'load_pickle', counting('files', reader.load_pickle))
    return count


def test_a_job_builds_one_model_and_opens_one_file(digit_scenes, tmp_path, counted):
    backbone = MODELS.build(load_config(LINEAR).model.backbone)
    torch.save(backbone.state_dict(), tmp_path / 'weights.pth')
    options = ['--work-dir', str(tmp_path), '--cfg-options', f'checkpoint={tmp_path / "weights.pth"}', *(
        f'{name}_dataloader.dataset.data_root={digit_scenes}' for name in ('train', 'val', 'test')),
        'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'param_scheduler.0.total_steps=8',
        'train_dataloader.batch_size=4']

    def count(prepare, *arguments):
        counted.update(models=0, files=0)
        prepare([LINEAR, *arguments, *options, f'experiment_name=count{next(_numbers)}'])()
        return counted

    assert count(training_job) == dict(models=1, files=1)
    assert count(training_job, '--resume') == dict(models=1, files=1)
    assert count(make_test_job, str(tmp_path / 'iter_2.pth')) == dict(models=1, files=1)


def test_a_copy_on_the_meta_device_leaves_the_model_alone():
    model = MODELS.build(load_config(LINEAR).model.backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = on_meta(model)
    assert {value.device.type for value in copied.state_dict().values()} == {'meta'}
    assert copied(torch.zeros(2, 3, 36, 36, device='meta'))[0].shape[0] == 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name for name, value in copied.named_parameters() if value.requires_grad} == trained


def test_a_flexible_runner_is_checked_too(digit_scenes, tmp_path):
    """On one device, as its default strategy is; ``tests/tools/test_distributed.py`` shards over two processes."""
    config = plain_config(digit_scenes, tmp_path, runner_type='FlexibleRunner')
    config.model.decode_head.norm_cfg.type = 'BN'
    runner = runner_class(config).from_cfg(config)
    assert type(runner) is CheckedFlexibleRunner
    runner.train()
    record, = json.loads((tmp_path / 'provenance.json').read_text())['launches']
    assert record['finished']['iteration'] == 4 and record['finished']['checkpoint']['sha256']
    config.update(load_from=str(tmp_path / 'iter_4.pth'), experiment_name=f'plain{next(_numbers)}')
    assert 0 <= runner_class(config).from_cfg(config, 'test').test()['mIoU'] <= 100
    config.model.decode_head.num_classes = 5
    config.update(load_from=None, experiment_name=f'plain{next(_numbers)}')
    with pytest.raises(ValueError, match='DigitScenesSegmentation has 11 classes, the model predicts 5'):
        runner_class(config).from_cfg(config, 'train').prepare_training()
