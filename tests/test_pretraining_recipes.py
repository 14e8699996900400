"""Pretraining and frozen-backbone recipes of every row of the paper's table: rates by iteration, decay, drop path."""

import json
import re
from functools import lru_cache

import numpy as np
import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmengine.config import Config

from mmlocat.training.recipe import learning_rates
from tests.conftest import ROOT
from tests.test_recipes import groups, load

PRETRAININGS = sorted(path.stem for path in (ROOT / 'configs').glob('*_*imagenet.py') if path.stem.count('_') == 1)
cached = lru_cache(maxsize=None)(load)  # of configs that no test changes


@lru_cache(maxsize=None)
def rates_of(settings, epoch_length):
    """Returns the learning rate of every iteration; ``settings``, JSON, are all that decides it."""
    return learning_rates(Config(json.loads(settings)), epoch_length)[:, 0]


@pytest.mark.parametrize('name', PRETRAININGS)
def test_pretraining_warms_up_and_then_falls_linearly(name):
    peak, warm_up, epochs = (5e-4, 120, 600) if name.endswith('mini-imagenet') else (1e-3, 20, 300)
    length = 10  # iterations an epoch
    config = cached(name)
    settings = {key: config[key] for key in ('optim_wrapper', 'param_scheduler', 'train_cfg')}
    rates = rates_of(json.dumps(Config(settings).to_dict(), sort_keys=True), length)
    step = torch.arange(epochs * length, dtype=torch.float64)
    rising = 1e-7 + (peak - 1e-7) * step / (warm_up * length - 1)
    falling = peak + (1e-7 - peak) * (step - warm_up * length) / ((epochs - warm_up) * length - 1)
    expected = torch.where(step < warm_up * length, rising, falling)
    assert (rates - expected).abs().max() < 1e-8
    assert rates[0] == pytest.approx(1e-7) and rates[-1] == pytest.approx(1e-7)
    wrapper, optimizer = config.optim_wrapper, config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.betas, wrapper.clip_grad) == ('AdamW', (0.9, 0.999), dict(max_norm=5.))
    assert (wrapper.type, wrapper.dtype, config.auto_scale_lr.base_batch_size) == ('AmpOptimWrapper', 'float16', 1024)
    assert config.train_dataloader.batch_size * 8 == 1024


@pytest.mark.parametrize('name', PRETRAININGS)
def test_pretraining_is_normalised_as_its_row_says(name):
    config, imagenets = cached(name), 'swin' in name or 'rope' in name
    mean = [123.675, 116.28, 103.53] if imagenets else [127.5] * 3
    std = [58.395, 57.12, 57.375] if imagenets else [127.5] * 3
    assert (config.data_preprocessor.mean, config.data_preprocessor.std) == (mean, std)
    erasing, = (step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomErasing')
    assert (erasing.fill_color, erasing.fill_std) == (mean, std)  # normal noise after normalisation


def swin_tables(*depths):
    """Returns the names of the relative position tables of a Swin, below its backbone."""
    return [f'layers.{stage}.blocks.{block}.attn.relative_position_bias_table'
            for stage, depth in enumerate(depths) for block in range(depth)]


# What takes no weight decay beside vectors, by arch.
UNDECAYED = {
    'vit-rope': ['cls_token', 'rope.freqs'], 'vit-tiny-rope': ['cls_token', 'rope.freqs'],
    'jumbo': ['cls_token', 'pos_embed'], 'jumbo-tiny': ['cls_token', 'pos_embed'],
    'swin': swin_tables(2, 2, 18, 2), 'swin-tiny': swin_tables(2, 2, 6, 2)}


@pytest.mark.parametrize('name', [
    'locatvit-tiny-reg4_imagenet', 'locatvit-reg4_mini-imagenet', *(f'{arch}_mini-imagenet' for arch in UNDECAYED),
    *(f'locat{arch}_imagenet' for arch in UNDECAYED)])
def test_pretraining_decays_no_vectors_and_no_tokens_but_registers(name):
    """The whole models of every size, on the meta device: names and shapes say enough, so no weights are drawn."""
    found, model = groups(name, 'meta')
    shapes = dict(model.named_parameters())
    arch = name.split('_')[0].replace('locat', '')
    tokens = {f'backbone.{parameter}' for parameter in UNDECAYED.get(arch, ['cls_token', 'pos_embed'])}
    assert set(found) == set(shapes) and tokens <= set(shapes)
    free = {parameter for parameter, (_, decay) in found.items() if decay == 0}
    assert free == tokens | {parameter for parameter, value in shapes.items() if value.ndim == 1}
    assert {value for parameter, value in found.items() if parameter not in free} == {(1, 0.05)}
    assert 'reg4' not in name or 'backbone.reg_token' in set(found) - free
    assert any(parameter.endswith('gaug.log_var.weight') for parameter in set(found) - free) == ('locat' in name)
    # Drop path grows linearly over the blocks; a block of Swin has one module for both branches, others have two.
    rates = [module.drop_prob for module in model.backbone.modules() if isinstance(module, DropPath)]
    depth = 24 if arch == 'swin' else 12
    highest = 0.1 if 'tiny' in arch else 0.4
    expected = np.repeat(np.linspace(0, highest, depth), 1 if 'swin' in arch else 2)
    assert rates == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize('name', sorted(path.stem for path in (ROOT / 'configs').glob('*_linear_*.py')
                                        if re.match('.*(swin|jumbo|rope)(-tiny|-nano)?_', path.stem)))
def test_every_frozen_backbone_is_probed_alike(name):
    """Data, schedule and optimizer are those of the plain ViT; the head differs in what comes in alone."""
    nano, data = 'nano' in name, name.split('_linear_')[1]
    config, plain = cached(name), cached(f'vit{"-nano" if nano else ""}_linear_{data}')
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'val_dataloader', 'auto_scale_lr'):
        assert config[key] == plain[key], key
    assert config.model.data_preprocessor == plain.model.data_preprocessor
    assert config.model.data_preprocessor.mean == ([127.5] * 3 if nano else [123.675, 116.28, 103.53])
    head, expected = (dict(one.model.decode_head, in_channels=None) for one in (config, plain))
    stages = (2 if nano else 4) if 'swin' in name else 4 if nano else 12
    assert head == expected and config.model.backbone.frozen_stages == stages
    assert config.model.backbone.out_indices == -1 and not config.model.backbone.get('drop_path_rate')
