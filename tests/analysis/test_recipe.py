"""tools/analysis/recipe.py says what is so, and what is wrong with its input."""

import re
from pathlib import Path

import mmseg
import pytest
from mmengine.config import Config

from mmlocat.analysis.recipe import describe, recipe_job
from mmlocat.config import load_config
from mmlocat.training.recipe import learning_rates
from tests.conftest import ROOT
from tests.helpers.forked import run_python

CONFIGS = ROOT / 'configs'


def recipe_of(name, **options):
    return describe(load_config(str(CONFIGS / f'{name}.py'), options))


def test_the_frozen_protocol():
    facts, groups = recipe_of('vit-tiny_linear_ade20k')
    assert facts['Initial weights'] == 'none: training will ask for --cfg-options checkpoint=FILE'
    assert facts['Frozen'] == 'backbone (5,524,032, stays in evaluation mode)'
    assert facts['Parameters'] == '176,278 trained of 5,700,310'
    assert facts['Total batch'] == '32: 4 a process, 8 processes'
    assert facts['Length'] == '20,000 iterations, validation every 2,000'
    assert facts['Learning rate'] == '1e-07 at first, highest 0.001 at iteration 4,999, 1e-11 at last'
    group, = groups
    assert (group.lr_multiplier, group.weight_decay, group.depth, len(group.names)) == (1, 0.01, None, 5)


def test_layer_decay_by_depth():
    facts, groups = recipe_of('locatvit-tiny_upernet_pascal_context59')
    depths = sorted({group.depth for group in groups})
    assert depths == list(range(14)) and len(groups) == 28  # each with and without weight decay
    for group in groups:
        assert group.lr_multiplier == pytest.approx(0.9**(13 - group.depth))
    trained = sum(group.parameters for group in groups)
    assert facts['Parameters'] == f'{trained:,} trained of {trained:,}' and facts['Frozen'] == 'nothing'
    assert facts['Learning rate'] == '6e-11 at first, highest 6e-05 at iteration 1,499, 0 at last'
    assert 'layer_decay_rate=0.9' in facts['From the config']


def test_a_schedule_that_overrides_layer_decay_is_told_of():
    options = {'optim_wrapper.constructor': 'LayerDecayOptimWrapperConstructor',
               'optim_wrapper.paramwise_cfg.layer_decay_rate': 0.5}
    facts, groups = recipe_of('vit-nano_upernet_digitscenes', **options)
    assert min(group.lr_multiplier for group in groups) == 0.5**5
    assert 'the schedule overrides the multiple 0.03125 of the slowest' in facts['Learning rate']
    facts, _ = recipe_of('vit-nano_upernet_digitscenes', param_scheduler=None, **options)
    assert facts['Learning rate'] == '0.001 at first, highest 0.001 at iteration 0, 0.001 at last'


def test_pretraining():
    facts, groups = recipe_of('locatvit-tiny_imagenet')
    assert facts['Length'] == '300 epochs, validation every 1'
    assert facts['Learning rate'] == '1e-07 at first, highest 0.001 at epoch 19.99, 1e-07 at last'
    assert {group.weight_decay for group in groups} == {0.0, 0.05}
    assert facts['Initial weights'] == 'random'
    assert facts['Parameters'] == '5,719,756 trained of 5,719,756'


def test_options_change_what_is_told(tmp_path, capsys):
    recipe_job([str(CONFIGS / 'locatvit-tiny_linear_ade20k.py'), '--cfg-options', f'checkpoint={tmp_path}/w.pth',
                'model.backbone.frozen_stages=3', 'train_dataloader.batch_size=5', 'param_scheduler.0.eta_max=0.002'])()
    text = re.sub(r'[\s│]+', ' ', capsys.readouterr().out)
    assert f'{tmp_path.name}/w.pth' in text.replace(' ', '') and 'hf://' not in text
    assert 'highest 0.002' in text and 'eta_max=0.002' in text and 'which does not divide it' in text
    assert 'backbone.layers.2 (' in text and 'backbone.layers.3 (' not in text and 'backbone.cls_token (192)' in text
    recipe_job([str(CONFIGS / 'locatvit-tiny_linear_ade20k.py')])()
    text = capsys.readouterr().out
    assert 'hf://sinahmr/locatvit_tiny' in text and 'decode_head.conv_seg.weight' in text and ' ... ' in text


def test_what_is_loaded_over_the_initial_weights_is_told():
    config = load_config(str(CONFIGS / 'vit-nano_upernet_digitscenes.py'), {
        'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='a.pth'), 'load_from': 'b.pth'})
    assert describe(config)[0]['Initial weights'] == 'a.pth\nthen, over them, b.pth (load_from)'
    config.load_from = 'a.pth'
    assert describe(config)[0]['Initial weights'] == 'a.pth'


def test_a_stock_config_of_mmseg():
    path = Path(mmseg.__file__).parent / '.mim/configs/segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'
    facts, groups = describe(Config.fromfile(path))
    assert facts['Total batch'] == 'not stated by the recipe; 1 a process'
    assert {group.lr_multiplier for group in groups} == {1, 10}  # its head learns ten times as fast
    assert facts['Learning rate'].startswith('6e-11 at first, highest 6e-05 at iteration 1,499')


def test_an_epoch_length_that_matters_is_said_to_be_assumed():
    for name, by_epoch, assumed in (('locatvit-nano_digitscenes', False, True),
                                    ('locatvit-nano_digitscenes', True, False),
                                    ('vit-nano_upernet_digitscenes', False, False)):
        config = load_config(str(CONFIGS / f'{name}.py'))
        config.param_scheduler = dict(type='LinearLR', by_epoch=by_epoch, end=5)
        assert describe(config)[0]['Learning rate'].endswith(', assuming 100 iterations an epoch') == assumed


def test_schedules_that_step_by_epoch():
    config = Config(dict(
        optim_wrapper=dict(optimizer=dict(lr=1.0)),
        param_scheduler=dict(type='MultiStepLR', milestones=[1, 3], gamma=0.1),
        train_cfg=dict(by_epoch=True, max_epochs=4)))
    assert learning_rates(config, epoch_length=2)[:, 0].tolist() == pytest.approx([1, 1, .1, .1, .1, .1, .01, .01])
    config.param_scheduler = None
    assert learning_rates(config, epoch_length=2).unique().tolist() == [1]


def test_the_command(clean_environment):
    """README's, which test_docs_commands.py runs too; here, what it does not say."""
    result = run_python('tools/analysis/recipe.py', 'configs/locatvit-tiny_upernet_ade20k.py', cwd=ROOT,
                        environment=clean_environment)
    assert result.returncode == 0, result.stderr
    assert 'What the optimiser updates' in result.stdout and 'Total batch' in result.stdout
    assert 'paramwise_options' not in result.stdout + result.stderr  # mmengine's line for every parameter


@pytest.mark.parametrize(('options', 'message'), [
    (['vit-tiny_linear_ade2k.py'], 'vit-tiny_linear_ade2k.py does not exist; did you mean'),
    (['vit-tiny_linear_ade20k.py', '--cfg-options', 'optim_wraper.type=x'], 'optim_wraper is no key of'),
    (['vit-tiny_linear_ade20k.py', '--cfg-options', 'optim_wrapper=None'], 'the config has no optim_wrapper.optimizer'),
    (['vit-tiny_linear_ade20k.py', '--cfg-options', 'train_cfg=None'], 'train_cfg states neither max_epochs nor'),
    (['vit-nano_upernet_digitscenes.py', '--cfg-options', 'optim_wrapper.constructor=LayerDecayOptimWrapperConstructor',
      'optim_wrapper.paramwise_cfg.layer_decay_rate=2'], 'layer_decay_rate=2 in paramwise_cfg'),
])
def test_bad_input_is_one_clear_error(options, message):
    name, *rest = options
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        recipe_job([str(CONFIGS / name), *rest])
