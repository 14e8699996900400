"""Weights for images of other channels: adapted on request, else refused or left out, and the report says which."""

import pytest
import torch

from mmlocat.models import LocAtJumbo, LocAtSwin, LocAtViT
from mmlocat.models.building import check_weights, image_channels
from tests.conftest import NANO

ARCH = dict(NANO, num_layers=1)
SWIN = dict(embed_dims=16, depths=(1, ), num_heads=(2, ))
NAME = 'patch_embed.projection.weight'


def vit(channels, **options):
    return LocAtViT(ARCH, 24, 4, in_channels=channels, **options).eval()


def fit(source, target):
    """What loading as mmengine does says, and the model after it."""
    state = source.state_dict()
    report = target.fit_checkpoint(dict(state))
    target.load_state_dict(state, strict=False)
    return report


@pytest.mark.parametrize(('given', 'wanted'), [(3, 1), (3, 2), (3, 4), (3, 6), (3, 10), (1, 3), (4, 3)])
def test_an_image_of_equal_channels_keeps_its_features(given, wanted):
    source, target = vit(given), vit(wanted, adapt_channels=True)
    report = fit(source, target)
    assert report.matched == report.total and f'{NAME} from {given} channels to {wanted}' in str(report)
    grey = torch.randn(2, 1, 24, 28)
    with torch.no_grad():
        expected, actual = source(grey.expand(-1, given, -1, -1))[0], target(grey.expand(-1, wanted, -1, -1))[0]
        assert (expected - actual).abs().max() < 1e-4
        assert (expected - vit(wanted)(grey.expand(-1, wanted, -1, -1))[0]).abs().max() > 1e-2


def test_how_channels_are_averaged_and_repeated():
    source = vit(3)
    own = source.patch_embed.projection.weight
    for channels, expected, said in (
            (1, own.sum(1, keepdim=True), 'their mean in 1, times 3/1'),
            (4, torch.cat([own, own.mean(1, keepdim=True)], 1) * 0.75, 'kept, their mean in 1, times 3/4'),
            (6, torch.cat([own, own], 1) / 2, 'repeated 2 times, times 3/6')):
        target = vit(channels, adapt_channels=True)
        assert said in str(fit(source, target))
        assert (target.patch_embed.projection.weight - expected).abs().max() < 1e-6
    assert 'adapted' not in str(fit(source, vit(3, adapt_channels=True)))


@pytest.mark.parametrize('build', [lambda **options: LocAtSwin(SWIN, 28, in_channels=1, **options),
                                   lambda **options: LocAtJumbo(ARCH, 24, 4, in_channels=1, **options)])
def test_siblings_too(build):
    target = build(adapt_channels=True)
    weights = dict(target.state_dict())
    name = next(name for name, value in weights.items() if name.startswith('patch_embed') and value.dim() == 4)
    weights[name] = weights[name].repeat(1, 3, 1, 1)
    assert 'from 3 channels to 1' in str(target.fit_checkpoint(dict(weights)))
    with pytest.raises(RuntimeError, match=r'adapt_channels=True \(--adapt-channels\)'):
        build().fit_checkpoint(dict(weights))


def test_without_it_they_are_refused_or_said_to_be_left_out():
    source, other = vit(3), vit(4)
    with pytest.raises(RuntimeError, match=rf'in another shape 1 of .*: {NAME} \(64, 3, 4, 4\) instead of '
                                           r'\(64, 4, 4, 4\); adapt_channels=True \(--adapt-channels\) averages'):
        fit(source, other)
    with pytest.raises(RuntimeError, match='check arch, gaug and patch_size'):  # more than its channels
        fit(LocAtViT(dict(ARCH, feedforward_channels=64), 24, 4), other)
    partial = vit(4, allow_partial=(NAME, ))
    first = partial.patch_embed.projection.weight.clone()
    report = fit(source, partial)
    assert report.matched == report.total - 1 and report.reshaped == [f'{NAME} (64, 3, 4, 4) instead of (64, 4, 4, 4)']
    assert f'{report.total - 1} of {report.total} matched' in str(report) and 'not loaded, of another shape' in str(
        report)
    assert torch.equal(partial.patch_embed.projection.weight, first)
    assert torch.equal(partial.layers[0].attn.qkv.weight, source.layers[0].attn.qkv.weight)


def test_a_whole_model_of_other_channels():
    def whole(channels, **options):
        model = torch.nn.Module()
        model.backbone, model.head = vit(channels, **options), torch.nn.Linear(64, 2)
        return model

    source = whole(3)
    with pytest.raises(RuntimeError, match='1 weights are missing or have another shape'):
        check_weights(whole(1), source.state_dict(), 'x.pth')
    target = whole(1, adapt_channels=True)
    check_weights(target, source.state_dict(), 'x.pth')
    target.load_state_dict(source.state_dict())
    assert (target.backbone.patch_embed.projection.weight
            - source.backbone.patch_embed.projection.weight.sum(1, keepdim=True)).abs().max() < 1e-6
    assert image_channels(target) == 1 and image_channels(torch.nn.Conv2d(7, 2, 1)) == 7


def test_the_option_of_the_tools():
    from argparse import ArgumentParser

    from mmlocat.training.cli import read_config
    from mmlocat.utils.arguments import add_job_arguments
    from tests.conftest import ROOT
    parser = ArgumentParser()
    add_job_arguments(parser)
    config = str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')
    assert read_config(parser.parse_args([config, '--adapt-channels'])).model.backbone.adapt_channels
    assert 'adapt_channels' not in read_config(parser.parse_args([config])).model.backbone
