"""Parameters and MACs: the paper's figures, the parts against a hand count, and the command."""

import runpy
import sys

import pytest
import torch
from mmengine.config import Config

from mmlocat.analysis.flops import count
from mmlocat.config import load_config
from mmlocat.models.building import input_shape
from tests.conftest import ROOT
from tests.helpers.random_models import use_sibling


def classifier(size, locat):
    """The paper's classifier: its recipe's config, in another size if need be."""
    config = load_config(str(ROOT / 'configs' / f'{"locatvit" if locat else "vit"}_imagenet.py'))
    channels, heads = dict(tiny=(192, 3), base=(768, 12))[size]
    config.merge_from_dict({'model.backbone.arch': size, 'model.head.in_channels': channels})
    if locat:
        config.merge_from_dict({'model.neck.num_heads': heads})
    return config


@pytest.mark.parametrize(('size', 'locat', 'parameters', 'published'), [
    ('tiny', False, 5717416, 1.26e9),
    ('tiny', True, 5719756, 1.27e9),
    ('base', False, 86567656, 17.58e9),
    ('base', True, 86569996, 17.64e9),
])
def test_published_figures_at_224_px(size, locat, parameters, published):
    cost = count(classifier(size, locat), (224, 224))
    assert cost.parameters == cost.trainable == parameters
    assert cost.macs == pytest.approx(published, rel=0.01)


def test_every_part_of_a_block_is_counted():
    cost = count(classifier('tiny', True), (224, 224))
    tokens, patches, channels, heads = 197, 196, 192, 3
    block = cost.of('backbone.layers.3')
    projections = tokens * channels * channels * 12
    attention = 2 * tokens * tokens * channels
    gaug_layers = heads * patches * 64 * 3
    bias = heads * patches * (14 + 14 + 14 + 14 * 14)
    assert block == projections + attention + gaug_layers + bias
    assert cost.of('neck') == 2 * tokens * tokens * channels  # PRR
    plain = count(classifier('tiny', False), (224, 224))
    assert plain.of('backbone.layers.3') == projections + attention
    assert sum(cost.of(f'backbone.layers.{i}') for i in range(12)) == 12 * block < cost.of('backbone')
    assert count(classifier('tiny', True), (224, 224), batch=3).macs == 3 * cost.macs


def sibling(kind, gaug=True):
    """The nano classifier with a sibling of LocAtViT as its backbone."""
    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py'))
    use_sibling(config, kind)
    config.model.backbone.gaug = gaug
    return config


def test_published_figure_of_the_plain_swin():
    """Swin-Tiny's 4.5 G at 224 px, from the Swin Transformer's own paper (arXiv 2103.14030, table 1)."""
    cost = count(load_config(str(ROOT / 'configs' / 'swin-tiny_imagenet.py')), (224, 224))
    assert cost.parameters == 28288354 and cost.macs == pytest.approx(4.5e9, rel=0.03)


def test_windows_are_counted_with_their_padding():
    channels, heads, window, hidden = 16, 1, 16, 64
    patches, padded = 7 * 13, 8 * 16  # 28 x 52 px in patches of 4 px; windows of 4 x 4 patches
    cost, plain = (count(sibling('swin', gaug), (28, 52)) for gaug in (True, False))
    projections = padded * channels * channels * 4
    attention = 2 * padded * window * channels
    mlp = 2 * patches * channels * hidden
    gaug_layers = heads * padded * 16 * 3
    gaussians = heads * padded * (4 + 4 + 4 + 4 * 4)
    for block in ('backbone.layers.0.blocks.0', 'backbone.layers.0.blocks.1'):  # shifted or not
        assert plain.of(block) == projections + attention + mlp
        assert cost.of(block) - plain.of(block) == gaug_layers + gaussians == cost.of(f'{block}.attn.gaug') - attention
    merged = 4 * 7  # odd maps are padded
    assert cost.of('backbone.layers.1.downsample') == merged * 4 * channels * 2 * channels
    assert cost.of('neck') == 2 * merged**2 * 2 * channels  # PRR over the last map


def test_the_mlp_that_jumbo_shares_is_counted_in_every_block():
    channels, heads, classes, patches = 32, 2, 3, 36
    tokens, joined = classes + patches, classes * channels
    cost, plain = (count(sibling('jumbo', gaug), (24, 24)) for gaug in (True, False))
    shared = 2 * joined * 4 * joined
    block = tokens * channels * channels * 4 + 2 * tokens**2 * channels + 2 * patches * channels * 64 + shared
    assert plain.of('backbone.layers.0') == block and plain.of('backbone.jumbo_mlp') == shared
    assert cost.of('backbone.layers.0') - block == heads * patches * (16 * 3 + 6 + 6 + 6 + 36)
    deeper = sibling('jumbo')
    deeper.model.backbone.arch.num_layers = 3
    found = count(deeper, (24, 24))
    assert found.of('backbone.jumbo_mlp') == 3 * shared
    own = next(module.parameters for module in cost.modules if module.name == 'backbone.layers.0')
    assert found.parameters - cost.parameters == 2 * own  # the shared MLP is in memory once


def test_rotations_are_not_counted_as_they_are_in_both_arms():
    channels, heads, tokens, patches = 64, 2, 37, 36
    cost, plain = (count(sibling('rope', gaug), (24, 24)) for gaug in (True, False))
    block = tokens * channels * channels * 4 + 2 * tokens**2 * channels + 2 * tokens * channels * 64
    assert plain.of('backbone.layers.0') == block
    assert cost.of('backbone.layers.0') - block == heads * patches * (32 * 3 + 6 + 6 + 6 + 36)


@pytest.mark.parametrize('name', ['locatvit-nano_linear_digitscenes', 'locatvit-nano_upernet_digitscenes'])
def test_the_parts_of_a_segmentor_sum_up(name):
    config = load_config(str(ROOT / 'configs' / f'{name}.py'))
    assert input_shape(config) == (36, 36)
    shapes = count(config, (36, 36))
    parts = [shapes.of(name) for name in ('backbone', 'neck', 'decode_head')]
    assert parts[0] > 0 and parts[2] > 0 and sum(parts) == shapes.macs
    assert (shapes.trainable < shapes.parameters) == ('linear' in name)
    assert count(config, (72, 36)).macs > 1.9 * shapes.macs


def test_counting_leaves_the_config_alone():
    config = load_config(str(ROOT / 'configs' / 'locatvit_linear_ade20k.py'))
    before = Config(config.to_dict()).pretty_text
    count(config, (64, 64))
    assert Config(config.to_dict()).pretty_text == before


def test_shapes_that_are_none():
    config = load_config(str(ROOT / 'configs' / 'vit-nano_digitscenes.py'))
    with pytest.raises(ValueError, match='must be positive whole numbers, got .0, 24, 1.'):
        count(config, (0, 24))


def test_command(monkeypatch, capsys):
    tool = str(ROOT / 'tools' / 'analysis' / 'flops.py')

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        return runpy.run_path(tool, run_name='tool')['main']()

    assert run(str(ROOT / 'configs' / 'locatvit_imagenet.py'), '--shape', '224', '224') == 0
    said = capsys.readouterr().out
    assert '86,569,996 parameters, 86,569,996 of them trained; 17.64 G' in said
    assert 'LocAtViT' in said and 'PatchRefinement' in said
    with pytest.raises(SystemExit):
        run('configs/vit-nano_digitscenes.py', '--shape', '1', '2', '3')
    assert '--shape takes HEIGHT WIDTH or one number for both, got [1, 2, 3]' in capsys.readouterr().err
    assert run('configs/vit-nano_digitscene.py') == 1
    assert capsys.readouterr().err.startswith('Error: config configs/vit-nano_digitscene.py does')
    assert torch.empty(0).device.type == 'cpu'  # the default device was not left changed
