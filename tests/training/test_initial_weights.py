"""Initial weights, and those of a test: what can be read, what fits the model, and what takes whose place."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.context import TEST, Context, changed_since_file
from mmlocat.training.initial_weights import find_weights, fit_weights, set_initial_checkpoint
from tests.conftest import ROOT


def check_weights(config, **options):
    """Runs both checks of initial weights: what can be read, and what fits the model."""
    context = Context(options=dict(Context().options, **options), runner=SimpleNamespace(model=None))
    set_initial_checkpoint(config, context)
    remarks = find_weights(config, context)
    if config.model.get('type'):
        context.runner.model = build_model(config)
        remarks += fit_weights(config, context)
    return remarks


def model_config(frozen, **backbone):
    return Config(dict(model=dict(backbone=dict(frozen_stages=frozen, **backbone))))


def test_a_frozen_backbone_needs_weights(tmp_path):
    with pytest.raises(RuntimeError, match='frozen and has no weights: give them with --cfg-options checkpoint=FILE'):
        check_weights(model_config(4))
    assert 'random weights' in check_weights(model_config(4), allow_random_backbone=True)[0]
    assert check_weights(model_config(-1)) == []
    file = tmp_path / 'weights.pth'
    config = model_config(4)
    config.checkpoint = str(file)
    with pytest.raises(FileNotFoundError, match=f'initial weights: checkpoint {file} does not exist.*give another'):
        check_weights(config)
    torch.save({'state_dict': {'w': torch.ones(1)}}, file)
    assert check_weights(config) == [f'The backbone starts from {file}.']
    config.checkpoint = None
    config.model.backbone.frozen_stages = -1
    assert 'starts from random weights' in check_weights(config)[0]
    assert config.model.backbone.init_cfg is None


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'is empty'),
    (b'<html>not found</html>', 'is an HTML or XML page'),
    (dict(epoch=3), 'holds no weights'),
    ({'conv1.weight': torch.ones(2)}, 'none of the 1 entries of the checkpoint is a weight of LocAtViT'),
])
def test_weights_that_cannot_be_used_are_named(content, message, tmp_path):
    file = tmp_path / 'weights.pth'
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    for key in ('checkpoint', 'load_from'):
        config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'), {key: str(file)})
        with pytest.raises(RuntimeError, match=f'{file}.*({message}|none of the 0 entries)'):
            check_weights(config)


def test_a_checkpoint_of_another_config_is_not_tested(tmp_path):
    from mmengine.registry import MODELS, init_default_scope
    file = str(tmp_path / 'vit.pth')
    configs = {name: load_config(str(ROOT / 'configs' / f'{name}_linear_digitscenes.py'))
               for name in ('vit-nano', 'locatvit-nano')}
    init_default_scope('mmseg')

    def check(config):
        config.load_from, context = file, Context(TEST, runner=SimpleNamespace(model=build_model(config)))
        find_weights(config, context)
        assert 'init_cfg' not in config.model.backbone  # the checkpoint holds the backbone
        fit_weights(config, context)

    for name, config in configs.items():
        torch.save(MODELS.build(config.model).state_dict(), file)
        check(config)
        other = configs['locatvit-nano' if name == 'vit-nano' else 'vit-nano']
        with pytest.raises(RuntimeError, match='does not fit the model of this config: 16 weights are .*another'):
            check(other)


def test_hub_addresses_are_fetched_first(monkeypatch):
    from huggingface_hub import errors
    def offline(*args, **kwargs):
        raise errors.LocalEntryNotFoundError('offline')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', offline)
    config = model_config(4, init_cfg=dict(type='Pretrained', checkpoint='hf://sinahmr/locatvit_base'))
    with pytest.raises(FileNotFoundError, match='hf://sinahmr/locatvit_base: the hub cannot be reached'):
        check_weights(config)


def test_load_from_takes_a_bare_vit(tmp_path):
    """A classifier's load_from with timm's names: checked, translated by the hook, head included."""
    from mmengine.registry import MODELS, init_default_scope

    from mmlocat.checkpoints import read_checkpoint, to_timm_names
    from mmlocat.training.load_from import BareViTHook
    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py'))
    init_default_scope('mmpretrain')
    model, other = (MODELS.build(config.model) for _ in range(2))
    bare = {name[len('backbone.'):] if name.startswith('backbone.') else name: value
            for name, value in model.state_dict().items()}
    torch.save(to_timm_names(bare), tmp_path / 'bare.pth')
    config.load_from = str(tmp_path / 'bare.pth')
    assert check_weights(config) == [f'The backbone starts from {config.load_from}.']
    for checkpoint in (dict(state_dict=read_checkpoint(config.load_from).state_dict),
                       torch.load(config.load_from, weights_only=True)):
        assert 'blocks.0.attn.qkv.weight' in checkpoint.get('state_dict', checkpoint)
        BareViTHook().after_load_checkpoint(SimpleNamespace(model=other), checkpoint)
        assert set(checkpoint['state_dict']) == set(model.state_dict())
        other.load_state_dict(checkpoint['state_dict'])
    assert all(torch.equal(other.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_head_of_other_classes_leaves_the_backbone_loaded(tmp_path):
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.runner import load_checkpoint
    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py'))
    init_default_scope('mmpretrain')
    source = MODELS.build({**config.model, 'head': {**config.model.head, 'num_classes': 3}})
    target = MODELS.build(config.model)
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'x.pth')
    kept = target.head.layers.head.weight.clone()
    load_checkpoint(target, str(tmp_path / 'x.pth'))
    assert torch.equal(target.head.layers.head.weight, kept) and len(kept) == 10
    assert torch.equal(target.backbone.layers[1].attn.qkv.weight, source.backbone.layers[1].attn.qkv.weight)


@pytest.mark.parametrize(('options', 'expected'), [
    ({'checkpoint': 'a.pth'}, 'a.pth'),
    ({'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='b.pth')}, 'b.pth'),
    ({'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='b.pth'), 'checkpoint': 'a.pth'}, 'a.pth'),
])
def test_what_was_changed_last_is_the_initial_checkpoint(options, expected):
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'), options)
    set_initial_checkpoint(config, Context(changed=changed_since_file(config)))
    assert config.model.backbone.init_cfg.checkpoint == expected


def test_what_load_from_loads_over_the_initial_weights_is_read_too(tmp_path):
    file, over = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save({'state_dict': {'w': torch.ones(1)}}, file)
    config = model_config(4, init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    config.load_from = str(over)
    with pytest.raises(FileNotFoundError, match=f'{over} does not exist.* --cfg-options load_from=FILE'):
        check_weights(config)
    torch.save({'state_dict': {'w': torch.ones(1)}}, over)
    context = Context()
    assert find_weights(config, context) == [f'The backbone starts from {file}.',
                                             f'Then {over} (load_from) is loaded into the whole model.']
    assert (context.initial, context.loaded) == (str(file), str(over))
    config.load_from = str(file)
    assert len(find_weights(config, context)) == 1 and context.loaded is None


def test_what_load_from_loads_over_the_initial_weights_fits_too(tmp_path):
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'))
    weights = build_model(config).backbone.state_dict()
    torch.save(weights, tmp_path / 'a.pth')
    torch.save({f'backbone.{name}': value for name, value in list(weights.items())[:-2]}, tmp_path / 'b.pth')
    config.checkpoint, config.load_from = str(tmp_path / 'a.pth'), str(tmp_path / 'b.pth')
    with pytest.raises(RuntimeError, match='b.pth: the checkpoint lacks 2 of 52 weights'):
        check_weights(config)


def test_the_whole_models_init_cfg_comes_before_the_backbones(tmp_path):
    config = model_config(4, init_cfg=dict(type='Pretrained', checkpoint='backbone.pth'))
    config.model.init_cfg = [dict(type='Normal'), dict(type='Pretrained', checkpoint=str(tmp_path / 'whole.pth'))]
    with pytest.raises(FileNotFoundError, match='whole.pth does not exist'):
        check_weights(config)
    torch.save({'state_dict': {'w': torch.ones(1)}}, tmp_path / 'whole.pth')
    with pytest.raises(FileNotFoundError, match='backbone.pth does not exist.* --cfg-options checkpoint=FILE'):
        check_weights(config)  # it is loaded first


@pytest.mark.parametrize(('path', 'settings'), [
    ('model.init_cfg.checkpoint', dict(init_cfg=dict(type='Pretrained', checkpoint='FILE'))),
    ('model.init_cfg.1.checkpoint', dict(init_cfg=[dict(type='Normal'), dict(type='Pretrained', checkpoint='FILE')])),
    ('model.pretrained', dict(pretrained='FILE')), ('load_from', {}), ('checkpoint', {})])
def test_the_advice_on_initial_weights_works(path, settings, tmp_path):
    config, file = model_config(-1), str(tmp_path / 'good.pth')
    config.merge_from_dict(dict(model=settings) if settings else {path: 'FILE'})
    with pytest.raises(FileNotFoundError, match=f'FILE does not exist.* --cfg-options {path}=FILE$'):
        check_weights(config)
    torch.save({'state_dict': {'w': torch.ones(1)}}, file)
    config.merge_from_dict({path: file})
    assert check_weights(config) == [f'The backbone starts from {file}.']


def test_a_checkpoint_for_the_backbone_of_a_model_with_its_own_is_refused():
    config = model_config(-1)
    config.merge_from_dict(dict(checkpoint='a.pth', model=dict(init_cfg=dict(type='Pretrained', checkpoint='b.pth'))))
    with pytest.raises(ValueError, match='checkpoint=a.pth would have no effect.* model.init_cfg.checkpoint=FILE, or'):
        check_weights(config)


@pytest.mark.parametrize('prefix', ['module.', 'module._orig_mod.'])
def test_names_of_wrappers_are_taken_off_any_model_that_is_tested(prefix, tmp_path):
    from mmlocat.training.load_from import BareViTHook
    file = str(tmp_path / 'whole.pth')
    config = Config(dict(default_scope='mmpretrain', load_from=file, model=dict(
        type='ImageClassifier', backbone=dict(type='ResNet', depth=18))))
    model = build_model(config)
    torch.save(dict(state_dict={prefix + name: value for name, value in model.state_dict().items()}), file)
    assert fit_weights(config, Context(TEST, runner=SimpleNamespace(model=model))) == []
    checkpoint = torch.load(file, weights_only=True)
    BareViTHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
    assert checkpoint['state_dict'].keys() == model.state_dict().keys()
