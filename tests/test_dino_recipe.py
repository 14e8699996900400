"""DINO's recipes, iteration by iteration: what the shipped configs do in mmengine's Runner is what the method says."""

import math

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mmlocat.analysis.recipe import parameter_groups
from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.recipe import learning_rates
from tests.conftest import ROOT

EPOCHS, LENGTH = 100, 2  # epochs of the recipe, iterations of one here


def load(name):
    config = load_config(str(ROOT / 'configs' / f'{name}.py'))
    init_default_scope(config.default_scope)
    return config


class Record(Hook):
    """Keeps what each iteration trains with, and the last layer after it."""

    priority = 'VERY_LOW'

    def before_train(self, runner):
        self.groups, self.momentum, self.moved = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.groups.append([(group['lr'], group['weight_decay']) for group in groups])
        self.layer = runner.model.head.last_layer.weight_v.detach().clone()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.momentum.append(1 - runner.model.teacher.momentum)
        self.moved.append(not torch.equal(self.layer, runner.model.head.last_layer.weight_v))


def views(index):
    generator = torch.Generator().manual_seed(index)
    return [torch.randint(256, (3, side, side), dtype=torch.uint8, generator=generator) for side in (16, 16, 8)]


@pytest.fixture(scope='module')
def pretraining(tmp_path_factory):
    """Runs the whole of a shipped recipe on a tiny model and four images; losses are large, so that clipping shows.

    Returns the config as shipped, what was recorded, the Runner, and norms of gradients as AdamW got them.
    """
    shipped, config = load('locatvit-small_dino_imagenet'), load('locatvit-small_dino_imagenet')
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    config.model.backbone.update(arch=arch, img_size=16, patch_size=4)
    config.model.neck.num_heads = 2
    config.model.head.update(in_channels=16, num_prototypes=8, hidden_channels=16, bottleneck_channels=8)
    config.optim_wrapper.update(type='OptimWrapper')  # in float32, for the CPU
    del config.optim_wrapper['dtype'], config.optim_wrapper['loss_scale']
    config.default_hooks.checkpoint.interval = -1
    data = dict(batch_size=2, num_workers=0, sampler=config.train_dataloader.sampler, dataset=[
        dict(inputs=views(index), data_samples=DataSample()) for index in range(2 * LENGTH)],
        collate_fn=config.train_dataloader.collate_fn)
    norms, step = [], torch.optim.AdamW.step

    def keep(optimizer, *args, **kwargs):
        norms.append([float(parameter.grad.norm()) for group in optimizer.param_groups
                      for parameter in group['params'] if parameter.grad is not None])
        return step(optimizer, *args, **kwargs)

    parts = ('model', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'default_hooks', 'custom_hooks', 'default_scope')
    runner = Runner(work_dir=str(tmp_path_factory.mktemp('recipe')), train_dataloader=data, log_level='ERROR',
                    experiment_name='recipe', **{part: config[part] for part in parts})
    loss = runner.model.head.loss
    runner.model.head.loss = lambda *args: 1e3 * loss(*args)
    record = Record()
    runner.register_hook(record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, 'step', keep)
        runner.train()
    return shipped, record, runner, norms


def cosine(start, end, step, steps):
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


def test_rate_decay_and_momentum_of_every_iteration(pretraining):
    shipped, record, runner, _ = pretraining
    total, warm_up = EPOCHS * LENGTH, 10 * LENGTH
    assert len(record.groups) == runner.iter == total
    rising = np.linspace(0, 1e-3, warm_up)
    names = {id(value): (name, value) for name, value in runner.model.named_parameters()}
    free = [group['params'][0].ndim == 1 for group in runner.optim_wrapper.optimizer.param_groups]
    for step, groups in enumerate(record.groups):
        rate = rising[step] if step < warm_up else cosine(1e-3, 1e-6, step - warm_up, total - warm_up)
        decay = cosine(0.04, 0.4, step, total)
        for (lr, weight_decay), spared in zip(groups, free):
            assert lr == pytest.approx(rate, rel=1e-5, abs=1e-10)
            assert weight_decay == (0 if spared else pytest.approx(decay, rel=1e-6))
        assert record.momentum[step] == pytest.approx(cosine(0.996, 1, step, total), rel=1e-9)
    trained = {names[id(value)][0] for group in runner.optim_wrapper.optimizer.param_groups
               for value in group['params'] if value.requires_grad}
    assert trained == {name for name, value in runner.model.named_parameters()
                       if not name.startswith('teacher.') and not name.endswith('weight_g')}
    tokens = [names[id(group['params'][0])][0] for group, spared in zip(
        runner.optim_wrapper.optimizer.param_groups, free) if not spared]
    assert {'backbone.cls_token', 'backbone.pos_embed'} <= set(tokens)  # which are decayed
    batch = shipped.auto_scale_lr.base_batch_size
    assert batch == 8 * shipped.train_dataloader.batch_size and shipped.train_dataloader.batch_size == 64
    assert shipped.optim_wrapper.optimizer.lr == 5e-4 * batch / 256
    assert (shipped.optim_wrapper.type, shipped.optim_wrapper.dtype) == ('AmpOptimWrapper', 'float16')
    assert shipped.model.backbone.drop_path_rate == 0.1


def test_the_last_layer_is_frozen_in_the_first_epoch_alone(pretraining):
    _, record, _, norms = pretraining
    assert record.moved == [False] * LENGTH + [True] * (EPOCHS - 1) * LENGTH
    assert len(norms[LENGTH]) == len(norms[0]) + 1  # weight_v has a gradient then


def test_every_gradient_is_clipped_by_its_own_norm(pretraining):
    norms = pretraining[3]
    assert len(norms) == EPOCHS * LENGTH
    assert max(map(max, norms)) <= 3 * (1 + 1e-4)
    # Many are clipped, each to 3: clipping by the norm of all would leave but one that large, and only if alone.
    assert sum(norm > 3 * (1 - 1e-4) for norm in norms[-1]) >= 5


def test_the_twin_has_the_same_recipe():
    own, other = load('vit-small_dino_imagenet'), load('locatvit-small_dino_imagenet')
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'custom_hooks', 'auto_scale_lr'):
        assert own[key] == other[key], key
    assert own.model.head == other.model.head


@pytest.mark.parametrize('arch', ['vit', 'locatvit'])
def test_the_linear_probe_of_every_iteration(arch):
    config = load(f'{arch}-small_dino-linear_imagenet')
    length = 3
    rates = learning_rates(config, length)[:, 0].tolist()
    assert len(rates) == EPOCHS * length
    peak = 1e-3 * config.auto_scale_lr.base_batch_size / 256
    for step, rate in enumerate(rates):  # one rate an epoch
        assert rate == pytest.approx(cosine(peak, 0, step // length, EPOCHS), rel=1e-9, abs=1e-15)
    assert config.auto_scale_lr.base_batch_size == 8 * config.train_dataloader.batch_size
    optimizer = config.optim_wrapper.optimizer
    assert (config.optim_wrapper.type, optimizer.type, optimizer.momentum) == ('OptimWrapper', 'SGD', 0.9)
    model = build_model(config, 'meta')
    group, = parameter_groups(model, config)
    assert group.names == ['head.fc.weight', 'head.fc.bias'] and (group.lr_multiplier, group.weight_decay) == (1, 0)
    assert not any(part.training for part in model.train().backbone.modules())
    torch.manual_seed(0)
    head = MODELS.build(config.model.head)
    head.init_weights()
    assert head.fc.weight.shape == (1000, 384) and not head.fc.bias.any()
    assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.01) and abs(head.fc.weight.mean()) < 1e-4
    assert config.train_cfg.val_interval == 1 and config.default_hooks.checkpoint.save_best == 'accuracy/top1'
