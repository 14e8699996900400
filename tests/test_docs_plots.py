"""The plots of the pages show the figures of today, as docs/site/plots.py draws them."""

import importlib.util
import re

import pytest
from PIL import Image

from tests.conftest import ROOT

SPEC = importlib.util.spec_from_file_location('plots', ROOT / 'docs' / 'site' / 'plots.py')
plots = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(plots)


@pytest.mark.parametrize('name', plots.PLOTS)
def test_a_picture_is_of_the_figures_of_today(name):
    collect, _ = plots.PLOTS[name]
    with Image.open(ROOT / 'docs' / name) as picture:
        recorded = picture.info['Source']
    assert recorded == plots.fingerprint(collect()), f'{name} is of other figures: run python docs/site/plots.py'
    assert (ROOT / 'docs' / name).stat().st_size < 150_000
    assert any(f']({name})' in page.read_text(encoding='utf-8') for page in (ROOT / 'docs').glob('*.md'))


def test_the_figures_are_those_that_people_read():
    """By hand: a row of each table of docs/performance.md, of the paper's table, and the Gaussian at its centre."""
    cost, results, gaug = (plots.PLOTS[f'{name}.png'][0]() for name in ('cost', 'results', 'gaug'))
    assert ['forward', 64, 1.35] in cost['attention'] and len(cost['attention']) == 10
    assert ['base', 'training step', 512, 1.01] in cost['models'] and len(cost['models']) == 18
    assert ['ViT, Base', 28.4, 32.64] in results['ADE20K'] and len(results) == 4
    alpha, vertical, horizontal, values = gaug['shown'][-1]
    example = plots.PLOTS['example.png'][0]()
    assert list(example['classes']) == ['background', 'disc', 'square'] and 'def draw(' in example['code']
    assert values[6][5] == alpha == max(map(max, values)) and vertical < horizontal
    assert values[6][8] > values[9][5]  # three patches aside, and three down
    with pytest.raises(ValueError, match='has no table with the columns nothing'):
        plots.table('performance.md', 'nothing')


def test_a_picture_is_drawn_and_says_of_what(tmp_path):
    path = plots.write('gaug.png', tmp_path)
    with Image.open(path) as picture:
        assert picture.size[0] > 700 and re.fullmatch('[0-9a-f]{64}', picture.info['Source'])
