"""Pages of attention maps: what is drawn, that it can be read, and what the tool says to bad input."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmlocat.models import LocAtViT
from mmlocat.visualization import attention_pages, collect
from mmlocat.visualization.attention_pages import Subject, _draw_summary, draw_block
from tests.conftest import NANO, ROOT
from tests.helpers.demo_layout import write_demo_models
from tests.helpers.legible import assert_legible
from tests.helpers.tool_runner import run_tool


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return write_demo_models(tmp_path_factory.mktemp('demo'), heads=('pretrain', ))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'picture.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)).save(path)
    return path


def subject(size=(24, 40), patches=((1, 1), (3, 8)), **options):
    model = LocAtViT(NANO, img_size=24, patch_size=4, **options)
    maps = collect(model, torch.randn(3, *size))
    return Subject(np.full((*size, 3), 90, np.uint8), maps, patches, 'A model   |   a.png, 40 x 24 px')


@pytest.mark.parametrize(('options', 'heads', 'panels'), [
    (dict(), 2, 2 * 12),
    (dict(gaug=False), 2, 2 * 4),
    (dict(patches=((1, 1), )), 8, 8 * 8),
    (dict(size=(64, 12), patches=((15, 2), )), 2, 2 * 8),
], ids=['GAug', 'plain', 'eight heads', 'a tall image'])
def test_a_page_has_a_row_a_head_and_can_be_read(options, heads, panels, monkeypatch):
    monkeypatch.setitem(NANO, 'num_heads', heads)
    looked = subject(**options)
    for figure in (draw_block(looked, looked.maps.blocks[1]), _draw_summary(looked)):
        words, has_gaug = assert_legible(figure), looked.maps.blocks[1].has_gaug
        if figure.axes and any(word.startswith('Block') for word in words):
            assert len([axes for axes in figure.axes if axes.get_label() != '<colorbar>']) == panels
            assert [f'Head {head + 1}' in '\n'.join(words) for head in range(heads)] == [True] * heads
            assert ('attention weight without GAug' in words) == has_gaug
            assert ('plain attention: no Gaussians' in ' '.join(words)) != has_gaug


def test_the_panels_show_the_numbers():
    looked = subject(patches=((2, 3), ))
    block = looked.maps.blocks[0]
    figure = draw_block(looked, block)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.get_label() != '<colorbar>' and axes.images]
    row = block.attention((2, 3))
    for head, first in ((0, 0), (1, 4)):  # picture, sigma twice, alpha
        assert np.array_equal(shown[first + 1], block.sigma[head, ..., 0])
        assert np.array_equal(shown[first + 2], block.sigma[head, ..., 1])
        assert np.array_equal(shown[first + 3], block.alpha[head])
        later = 8 + 4 * head
        for offset, values in enumerate((row.without_gaug, row.with_gaug, row.difference), 1):
            assert np.array_equal(shown[later + offset], values[head])
    ellipses = [patch for axes in figure.axes for patch in axes.patches if type(patch).__name__ == 'Ellipse']
    sigma = block.sigma[0, 2, 3]
    single = [e for e in ellipses if tuple(e.get_center()) == (14., 10.)]
    assert any(np.allclose((e.width, e.height), (8 * sigma[1], 8 * sigma[0])) for e in single)


@pytest.mark.parametrize('arm', ['locatvit', 'vit'])
def test_the_tool_writes_pages(arm, demo, picture, tmp_path, monkeypatch):
    seen, draw = [], attention_pages.draw_block
    monkeypatch.setattr(attention_pages, 'draw_block', lambda *given: seen.append(given[0]) or draw(*given))
    points = ['--at', '80,10', '--at', '5,55', '79,9'] if arm == 'locatvit' else []
    run_tool('analysis/attention_maps.py', picture, '--arm', arm, '--demo-dir', demo, *points, '--out', tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir() if path != picture)
    assert names == ['block01.png', 'block02.png', 'block03.png', 'block04.png', 'summary.png']
    # 90 px wide is more than three times the 24 px of pretraining: shrunk to 72 x 48.
    assert seen[0].image.shape == (48, 72, 3) and seen[0].maps.grid == (12, 18)
    assert seen[0].patches == ([(2, 16), (11, 1), (1, 15)] if arm == 'locatvit' else [(6, 9)])  # the middle


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nothing.png'], 'image nothing.png does not exist'),
    ([__file__], 'cannot be read as an image'),
    (['PICTURE', '--at', '90,0'], '--at 90,0 lies outside the image, which has 90 x 60 px: x from 0 to 89, y from'),
    (['PICTURE', '--at', 'nan,2'], '--at nan,2 lies outside the image'),
    (['PICTURE', '--demo-dir', 'nowhere'], 'run `make demo`'),
    (['PICTURE', '--config', 'configs/locatvit-nano_digitscenes.py', '--checkpoint', 'VIT'], 'does not fit the model'),
    (['PICTURE', '--out', 'PICTURE'], 'is a file, not a folder'),
])
def test_bad_input_gets_one_line(arguments, message, demo, picture, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    places = {'PICTURE': picture, 'VIT': demo / 'seed0' / 'vit' / 'pretrain' / 'epoch_1.pth'}
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    if '--demo-dir' not in arguments and '--config' not in arguments:
        arguments += ['--demo-dir', str(demo)]
    if '--out' not in arguments:
        arguments += ['--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit) as stop:
        run_tool('analysis/attention_maps.py', *arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 1 and message in error and 'Traceback' not in error
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('option', 'message'), [
    (['--at', '12'], "takes x,y in px of the image, such as 120,80; got '12'"),
    (['--config', 'a.py'], '--config and --checkpoint go together: give both'),
    (['--max-side', '0'], '--max-side must be at least 1, got 0'),
])
def test_options_are_checked_first(option, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run_tool('analysis/attention_maps.py', 'a.png', *option)
    assert stop.value.code == 2 and message in capsys.readouterr().err
