"""What is checked or changed between a config and the Runner."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor

from mmlocat.config import load_config
from mmlocat.training.config_values import check_values
from mmlocat.training.context import TEST, TRAIN, Context, changed_since_file, read_options
from mmlocat.training.hardware import adapt_to_hardware, adapt_total_batch, check_launcher
from tests.conftest import ROOT


def recipe(**options):
    return Config(
        dict(
            train_dataloader=dict(batch_size=4),
            auto_scale_lr=dict(base_batch_size=32, **options),
            optim_wrapper=dict(optimizer=dict(lr=1e-3)),
            param_scheduler=[dict(type='OneCycleLR', eta_max=1e-3)]))


def check_total_batch(config, processes):
    return adapt_total_batch(config, Context('train', processes=processes))


def test_a_best_checkpoint_needs_a_validation():
    config = load_config(str(ROOT / 'configs' / 'vit-nano_dino_digitscenes.py'),
                         {'default_hooks.checkpoint.save_best': 'loss'})
    assert check_values(config, Context(TEST)) == []
    with pytest.raises(ValueError, match="save_best='loss', but there is no val_dataloader, .* set .*save_best=None"):
        check_values(config, Context(TRAIN))
    config = load_config(str(ROOT / 'configs' / 'vit-small_dino-linear_imagenet.py'))
    assert check_values(config, Context(TRAIN)) == [] and config.default_hooks.checkpoint.save_best == 'accuracy/top1'


def test_options_that_are_no_dict():
    with pytest.raises(ValueError, match='checks must be a dict, got 5; set options in it, such as checks.data=False'):
        read_options(Config(dict(checks=5)), Context())


def test_total_batch_that_fits_is_not_mentioned():
    assert check_total_batch(recipe(), 8) == []
    config = recipe()
    config.optim_wrapper.accumulative_counts = 2
    assert check_total_batch(config, 4) == []


def test_total_batch_that_differs_says_what_to_do():
    remark, = check_total_batch(recipe(), 2)
    assert remark == ("Total batch 8 (2 x 4) is not the recipe's 32. To keep to the recipe: "
                      'train_dataloader.batch_size=16 by --cfg-options, or --auto-scale-lr (learning rate 0.001 -> '
                      '0.00025).')
    remark, = check_total_batch(recipe(), 3)
    assert 'Total batch 12 (3 x 4)' in remark and 'train_dataloader.batch_size' not in remark


def test_auto_scale_reaches_the_peak_of_one_cycle():
    config = recipe(enable=True)
    remark, = check_total_batch(config, 2)
    assert remark == 'Total batch 8 (2 x 4) instead of 32: learning rate scaled from 0.001 to 0.00025.'
    assert check_total_batch(config, 2) == []  # the rate is that of this batch now
    assert config.param_scheduler[0].eta_max == pytest.approx(2.5e-4)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(2.5e-4) and not config.auto_scale_lr.enable
    config = recipe(enable=True)
    config.optim_wrapper.accumulative_counts = 4  # 2 x 4 x 4 is the recipe's 32: nothing is scaled, by nobody
    assert check_total_batch(config, 2) == []
    assert config.optim_wrapper.optimizer.lr == 1e-3 and not config.auto_scale_lr.enable
    with pytest.raises(ValueError, match='--auto-scale-lr needs auto_scale_lr'):
        check_total_batch(Config(dict(auto_scale_lr=dict(enable=True))), 2)
    assert check_total_batch(Config(dict(train_dataloader=dict(batch_size=2))), 2) == []


def test_configs_without_cuda(monkeypatch):
    def config(launcher='pytorch'):
        norm = dict(type='SyncBN', requires_grad=True)
        return Config(
            dict(
                launcher=launcher,
                model=dict(decode_head=dict(norm_cfg=norm), auxiliary_head=[dict(norm_cfg=dict(norm))]),
                optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic', optimizer=dict()),
                env_cfg=dict(dist_cfg=dict(backend='nccl'))))

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    adapted = config()
    remark, = adapt_to_hardware(adapted, Context())
    assert remark == ('No CUDA device: processes talk over gloo, SyncBN runs as BN, mixed precision runs in bfloat16 '
                      'on CPU autocast.')
    assert adapted.env_cfg.dist_cfg.backend == 'gloo' and adapted.model_wrapper_cfg.device_ids is None
    assert adapted.model.decode_head.norm_cfg == dict(type='BN', requires_grad=True)
    assert adapted.model.auxiliary_head[0].norm_cfg.type == 'BN'
    assert adapted.optim_wrapper == dict(type='CPUAmpOptimWrapper', optimizer=dict())
    with pytest.raises(RuntimeError, match='--launcher slurm needs CUDA'):
        check_launcher(config('slurm'), Context())

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    untouched = config()
    assert adapt_to_hardware(untouched, Context()) == []
    assert untouched.to_dict() == config().to_dict()


def test_what_has_changed_since_the_file_was_read(tmp_path):
    """It takes the place of the command line, which the tools of OpenMMLab do not hand over."""
    path = str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py')
    config = load_config(path, {'checkpoint': 'a.pth', 'train_cfg.max_iters': 6, 'param_scheduler.0.total_steps': 6})
    config.work_dir, config.launcher, config.resume = 'somewhere', 'pytorch', True
    config.merge_from_dict({'checks.data': False})
    config.pop('test_cfg')
    changed = changed_since_file(config)
    assert changed.pop('test_cfg.type') is None
    assert changed == {'checkpoint': 'a.pth', 'train_cfg.max_iters': 6, 'param_scheduler.0.total_steps': 6}
    assert changed_since_file(load_config(path)) == changed_since_file(Config(dict(model={}))) == {}


def test_means_that_a_data_preprocessor_does_not_take():
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'))
    for means in ([0.5], None):
        config.model.data_preprocessor.update(mean=means, std=means)
        assert check_values(config, Context()) == []
    # That of OneDL's MMSegmentation derives from it; that of OpenMMLab's takes any number.
    config.model.data_preprocessor.update(type=ImgDataPreprocessor, mean=[0.5] * 4)
    with pytest.raises(ValueError, match="mean has 4 values, but takes one .* or three; set .*'Normalize', mean="):
        check_values(config, Context())
    config.model.data_preprocessor.type = 'mmpretrain.ClsDataPreprocessor'  # which takes any number
    assert check_values(config, Context()) == []


def test_a_batch_size_that_is_no_number_is_left_to_the_check_of_values():
    config = recipe()
    config.train_dataloader.batch_size = 'abc'
    assert check_total_batch(config, 1) == []
