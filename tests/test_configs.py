"""Every config builds and runs forward; recipes are what method and comments say."""

import pytest
import torch
from conftest import ROOT
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope

from mmlocat.engine.config import load_config

NAMES = sorted(path.name for path in (ROOT / 'configs').glob('*.py'))


def load(name):
    config = load_config(str(ROOT / 'configs' / name))
    init_default_scope(config.default_scope)
    return config


def build(config):
    model = config.model.copy()
    if config.default_scope == 'mmpretrain':
        model.data_preprocessor = config.data_preprocessor
    return MODELS.build(model)


def test_front_page_names_are_here():
    expected = {f'{arch}_{rest}.py' for arch in ('vit', 'locatvit')
                for rest in ('imagenet', 'linear_ade20k', 'upernet_ade20k')}
    assert expected <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_builds_and_runs_forward(name):
    config = load(name)
    model = build(config).eval()
    assert (model.backbone.kernel is None) == name.startswith(('vit', 'locatvit-nano-prr'))
    small = 'digitscenes' in name
    image = torch.zeros(1, 3, *((36, 36) if small else (64, 64)))
    with torch.no_grad():
        out = model(image)
    classes = 10 if small else 1000
    if config.default_scope == 'mmpretrain':
        assert out.shape == (1, classes)
    else:
        assert out.shape[:2] == (1, 11 if small else 150)
    if 'linear' in name:
        assert not any(p.requires_grad for p in model.backbone.parameters())
        assert sum(p.requires_grad for p in model.parameters()) == 5
    else:
        assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('rest', ['imagenet', 'linear_ade20k', 'upernet_ade20k'])
def test_twins_differ_in_the_method_alone(rest):
    plain, locat = (load(f'{arch}_{rest}.py').to_dict() for arch in ('vit', 'locatvit'))
    model = locat['model']
    assert model['backbone'].pop('gaug') is True and plain['model']['backbone'].pop('gaug') is False
    if rest == 'imagenet':
        assert model.pop('neck') == dict(type='PatchRefinement', num_heads=12)
        assert model['backbone'].pop('out_type') == 'raw'
    else:
        assert locat['checkpoint'] == 'hf://sinahmr/locatvit_base' and plain['checkpoint'] is None
        assert model['backbone'].pop('init_cfg')['checkpoint'] == locat.pop('checkpoint')
        plain.pop('checkpoint')
    assert plain == locat


def learning_rates(config, steps, epoch_length=None):
    """Returns the learning rate of every iteration as mmengine's schedulers set it."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimizer)
    schedulers = []
    for scheduler in config.param_scheduler:
        scheduler = scheduler.copy()
        convert = scheduler.pop('convert_to_iter_based', False)
        cls = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        scheduler.setdefault('end', steps)
        schedulers.append(cls.build_iter_from_epoch(optimizer=wrapper, epoch_length=epoch_length, **scheduler)
                          if convert else cls(wrapper, **scheduler))
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def test_linear_schedule_is_torchs_one_cycle():
    rates = learning_rates(load('vit_linear_ade20k.py'), 20000)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=20000, pct_start=0.25, anneal_strategy='linear', div_factor=1e4,
        final_div_factor=1e4, cycle_momentum=False)
    expected = []
    for _ in range(20000):
        expected.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        if len(expected) < 20000:
            scheduler.step()
    assert (rates - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-12
    assert rates.max() == pytest.approx(1e-3)


def test_pretraining_schedule_is_warm_up_and_linear_decay():
    length = 10  # iterations an epoch
    rates = learning_rates(load('vit_imagenet.py'), 300 * length, length)
    step = torch.arange(300 * length, dtype=torch.float64)
    warm_up = 1e-7 + (1e-3 - 1e-7) * step / (20 * length - 1)
    decay = 1e-3 + (1e-7 - 1e-3) * (step - 20 * length) / (280 * length - 1)
    expected = torch.where(step < 20 * length, warm_up, decay)
    assert (rates - expected).abs().max() < 1e-8
    assert rates[0] == pytest.approx(1e-7) and rates[-1] == pytest.approx(1e-7)


def groups(name):
    """Returns the weight decay of every trained parameter."""
    config = load(name)
    config.optim_wrapper.pop('dtype', None), config.optim_wrapper.pop('loss_scale', None)
    config.optim_wrapper.type = 'OptimWrapper'
    model = build(config)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    decay = {id(p): group['weight_decay'] for group in wrapper.optimizer.param_groups for p in group['params']}
    return {name: decay[id(p)] for name, p in model.named_parameters() if p.requires_grad}


def test_pretraining_decays_no_vectors_and_no_tokens():
    decay = groups('locatvit_imagenet.py')
    free = {name for name, value in decay.items() if value == 0}
    assert free == {name for name in decay if name.endswith(('.bias', '.cls_token', '.pos_embed')) or '.ln' in name}
    assert decay['backbone.layers.0.attn.gaug.log_var.weight'] == 0.05 == decay['head.layers.head.weight']


def test_linear_decays_everything():
    assert set(groups('locatvit_linear_ade20k.py').values()) == {0.01}


def test_upernet_decays_no_norms_biases_and_tokens():
    decay = groups('locatvit_upernet_ade20k.py')
    assert decay['backbone.pos_embed'] == decay['backbone.cls_token'] == 0
    assert all(value == 0 for name, value in decay.items() if name.endswith('.bias') or '.ln' in name or '.bn' in name)
    assert decay['backbone.layers.3.ffn.layers.1.weight'] == 0.01 == decay['decode_head.conv_seg.weight']
