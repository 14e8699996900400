"""What is checked or changed between a config and the Runner."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook

from mmlocat.config import load_config
from mmlocat.engine.dino import DINOHook
from mmlocat.models.building import build_model
from mmlocat.training.config_values import check_values
from mmlocat.training.context import TEST, TRAIN, Context, changed_since_file, read_options
from mmlocat.training.hardware import adapt_to_hardware, adapt_total_batch, check_launcher
from mmlocat.training.initial_weights import (
    find_weights,
    fit_weights,
    set_initial_checkpoint,
)
from mmlocat.training.model_check import check_needs
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


def check_weights(config, **options):
    """Runs both checks of initial weights: what can be read, and what fits the model."""
    context = Context(options=dict(Context().options, **options), runner=SimpleNamespace(model=None))
    set_initial_checkpoint(config, context)
    remarks = find_weights(config, context)
    if config.model.get('type'):
        context.runner.model = build_model(config)
        remarks += fit_weights(config, context)
    return remarks


def dino(hooks, **changes):
    """Runs the check of what a model needs on a DINO and these hooks."""
    config = load_config(str(ROOT / 'configs' / 'vit-nano_dino_digitscenes.py'))
    config.update(changes)
    return check_needs(config, Context(runner=SimpleNamespace(model=build_model(config), hooks=hooks)))


def test_a_model_without_a_hook_that_it_needs_or_split_against_its_word_is_refused():
    assert dino([DINOHook()]) == dino([EMAHook(), type('Mine', (DINOHook, ), {})()]) == []
    with pytest.raises(ValueError, match=r"DINO does not train without DINOHook, and custom_hooks=\[{'type': 'EMAHook'}"
                                         r"\] has none; add dict\(type='DINOHook'\) to it"):
        dino([EMAHook()], custom_hooks=[dict(type='EMAHook')])
    with pytest.raises(ValueError, match='model.type=DINO cannot be sharded by FSDP; leave configs/_base_/fsdp.py'):
        dino([DINOHook()], strategy=dict(type='FSDPStrategy'))
    plain = SimpleNamespace(model=torch.nn.Linear(1, 1), hooks=[])
    assert check_needs(Config(dict(strategy=dict(type='FSDPStrategy'))), Context(runner=plain)) == []


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


def test_options_are_checked_against_the_config():
    path = str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py')
    with pytest.raises(ValueError, match='chekpoint=x: chekpoint is no key of .*; did you mean checkpoint'):
        load_config(path, {'chekpoint': 'x'})
    with pytest.raises(ValueError, match='param_scheduler.total_steps=8 does not fit the config'):
        load_config(path, {'param_scheduler.total_steps': 8})
    config = recipe()
    config.train_dataloader.batch_size = 'abc'  # which check_values refuses
    assert check_total_batch(config, 1) == []


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


def test_a_config_that_does_not_exist_lists_near_matches(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'did you mean .*locatvit_upernet_ade20k.py'):
        load_config('configs/locatvit_upernet_ade.py')
    (tmp_path / 'my_model.py').write_text('a = 1')
    with pytest.raises(FileNotFoundError, match=r'did you mean .*my_model.py'):
        load_config(str(tmp_path / 'my_mdel.py'))
    with pytest.raises(FileNotFoundError, match='configs lie in'):
        load_config('zzz.py')


def test_a_shipped_config_needs_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_config('locatvit-nano_digitscenes')
    assert found.filename == str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')
    (tmp_path / 'locatvit-nano_digitscenes').mkdir()  # a work dir, say
    assert load_config('locatvit-nano_digitscenes').filename == found.filename
    for name in ('../configs/locatvit-nano_digitscenes', 'locatvit-nano_digitscene'):
        with pytest.raises(FileNotFoundError, match='locatvit-nano_digitscenes.py'):
            load_config(name)


def test_a_config_that_is_not_python_says_so(tmp_path):
    (tmp_path / 'part.py').write_text('a = 1')
    with pytest.raises(ValueError, match='part.py has no model; is it a part'):
        load_config(str(tmp_path / 'part.py'))
    (tmp_path / 'broken.py').write_text('a = (1')
    with pytest.raises(ValueError, match='broken.py cannot be read'):
        load_config(str(tmp_path / 'broken.py'))


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


@pytest.mark.parametrize(('options', 'expected'), [
    ({'checkpoint': 'a.pth'}, 'a.pth'),
    ({'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='b.pth')}, 'b.pth'),
    ({'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='b.pth'), 'checkpoint': 'a.pth'}, 'a.pth'),
])
def test_what_was_changed_last_is_the_initial_checkpoint(options, expected):
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'), options)
    set_initial_checkpoint(config, Context(changed=changed_since_file(config)))
    assert config.model.backbone.init_cfg.checkpoint == expected


def test_means_that_a_data_preprocessor_does_not_take():
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'))
    for means in ([0.5], None):
        config.model.data_preprocessor.update(mean=means, std=means)
        assert check_values(config, Context()) == []
    config.model.data_preprocessor.mean = [0.5] * 4
    with pytest.raises(ValueError, match="mean has 4 values, but takes one .* or three; set .*'Normalize', mean="):
        check_values(config, Context())
    config.model.data_preprocessor.type = 'mmpretrain.ClsDataPreprocessor'  # which takes any number
    assert check_values(config, Context()) == []
