"""The page of `make app` in a real browser: a picture is dropped, a patch is clicked, a bad file gives a message."""

import io
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models

pytest.importorskip('gradio', reason='gradio, which the extra "app" brings, is not installed')

from mmlocat.experiments.demo_models import demo_model  # noqa: E402
from mmlocat.visualization import clicks  # noqa: E402
from mmlocat.visualization.arguments import load_segmentors  # noqa: E402
from mmlocat.visualization.web import serve  # noqa: E402
from mmlocat.visualization.web.inspector import Inspector  # noqa: E402
from mmlocat.visualization.web.page import build_page, launch  # noqa: E402

CHROMIUM = os.environ.get('CHROMIUM', '/usr/bin/chromium')
OPTIONS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking']


def models(demo_dir, **changes):
    args = SimpleNamespace(**{**dict(config=None, checkpoint=None, against=[], demo_dir=demo_dir, max_side=None,
                                     device='cpu', trust_pickle=False, samples=None, time_clicks=None), **changes})
    return load_segmentors(args, lambda arm: demo_model(arm, work_dir=demo_dir))


@pytest.fixture(scope='module')
def demo_dir(tmp_path_factory):
    return write_demo_models(tmp_path_factory.mktemp('demo'))


@pytest.fixture(scope='module')
def inspector(demo_dir):
    return Inspector(models(demo_dir))


def picture(seed, height=36, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_look_shows_the_numbers_of_the_model(inspector):
    image = picture(0)
    assert inspector.patch_at(image, (0, 0)) == (0, 0) and inspector.middle(image) == (4, 6)
    assert inspector.patch_at(image, (1e9, 1e9)) == (8, 11)  # the grid is 9 x 12
    scale = clicks.enlargement(48, 36)
    assert inspector.patch_at(image, (4 * scale, 4 * scale - 1)) == (0, 1)
    looks = [inspector.look(image, patch, block) for patch in ((4, 6), (8, 11)) for block in (1, 4)]
    assert all(look[0].size == (48 * scale, 36 * scale) for look in looks)
    sheets = [np.asarray(look[1]) for look in looks]
    assert all((first != second).any() for first, second in zip(sheets, sheets[1:]))
    # The map on the sheet is the model's own: its largest weight is where the colour scale ends.
    from mmlocat.visualization.maps import collect, prepare_image
    model = inspector.models[0].model
    block = collect(model, prepare_image(model, image)).blocks[3]
    row = block.attention((8, 11))
    assert row.with_gaug.shape == (2, 9, 12) and np.abs(row.difference).max() > 1e-4
    assert f'α {block.alpha[1, 8, 11]:.2f} (logit)' in clicks.describe_head(block, 1, (8, 11))
    assert 'σ in patches' in clicks.describe_head(block, 1, (8, 11))


def test_a_plain_vit_shows_its_attention_alone(demo_dir):
    vit = demo_model('vit', work_dir=demo_dir)
    own = Inspector(models(demo_dir, config=str(vit.config), checkpoint=str(vit.checkpoint), against=None))
    _, sheet = own.look(picture(0), (1, 1), 2)
    assert sheet.width < 600 and own.segment(picture(0)).width > 300


def test_clicks_take_less_than_a_second(inspector, capsys):
    seconds = serve.time_clicks(inspector, [picture(0)], 6)
    assert sorted(seconds)[3] < 1 and '6 clicks: median' in capsys.readouterr().out


def test_the_command_line(demo_dir, tmp_path, monkeypatch, capsys):
    import importlib.util
    spec = importlib.util.spec_from_file_location('app', ROOT / 'demo' / 'app.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', ['app.py'])
    assert tool.read_options().host == '127.0.0.1'
    monkeypatch.setattr(sys, 'argv', ['app.py', '--demo-dir', str(tmp_path)])
    with pytest.raises(SystemExit):
        tool.main()
    assert 'run `make demo`' in capsys.readouterr().err
    Image.fromarray(picture(0, 100, 200)).save(tmp_path / 'a.png')
    monkeypatch.setattr(sys, 'argv', ['app.py', '--demo-dir', str(demo_dir), '--samples', str(tmp_path / 'a.png'),
                                      '--time-clicks', '2'])
    served = []
    tool.main()
    assert '2 clicks: median' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', sys.argv[:-2])
    monkeypatch.setattr(serve, 'launch', lambda page, host, port: served.append((host, port)))
    tool.main()
    assert served == [('127.0.0.1', None)]


@pytest.fixture(scope='module')
def address(inspector):
    page = build_page(inspector, [picture(7), picture(8)])
    yield launch(page, '127.0.0.1', None, block=False)
    page.close()


@pytest.fixture(scope='module')
def browser_page(address):
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if not Path(CHROMIUM).is_file():
        pytest.skip(f'there is no Chromium at {CHROMIUM}; CHROMIUM=FILE names another')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        tab = browser.new_page(viewport=dict(width=1280, height=1500))
        tab.asked = []
        tab.on('request', lambda request: tab.asked.append(request.url))
        tab.goto(address)
        tab.wait_for_selector('#file')
        yield tab
        browser.close()


def source(tab, name):
    """The address of an image on the page: another one for another picture."""
    image = tab.query_selector(f'#{name} img')
    return image and image.get_attribute('src')


def wait_for_change(tab, name, before, seconds=30):
    begin = time.monotonic()
    while source(tab, name) in (None, before):
        assert time.monotonic() - begin < seconds, f'#{name} did not change'
        tab.wait_for_timeout(20)
    return time.monotonic() - begin


def drop(tab, name, content):
    tab.set_input_files('#file input[type=file]', dict(name=name, mimeType='image/png', buffer=content))


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'png')
    return buffer.getvalue()


def test_in_a_browser(browser_page, address):
    tab = browser_page
    assert address.startswith('http://127.0.0.1:')
    wait_for_change(tab, 'segmentation', None)  # the first sample
    before = source(tab, 'segmentation')
    drop(tab, 'mine.png', png(picture(0)))
    wait_for_change(tab, 'segmentation', before)
    tab.wait_for_selector('#file input[type=file]', state='attached')

    # A click near a corner: Gaussians move, attention changes, segmentations stay.
    waits = []
    for x in (0.1, 0.5, 0.9):
        before = {name: source(tab, name) for name in ('picture', 'attention', 'segmentation')}
        box = tab.query_selector('#picture img').bounding_box()
        tab.mouse.click(box['x'] + x * box['width'], box['y'] + 0.3 * box['height'])
        waits.append(wait_for_change(tab, 'attention', before['attention']))
        wait_for_change(tab, 'picture', before['picture'])
        assert source(tab, 'segmentation') == before['segmentation']
    print(f'from click to changed picture in Chromium: {", ".join(f"{wait:.2f}" for wait in waits)} s')
    assert min(waits) < 1

    # A bad file: a message, and the page stays as it was.
    before = source(tab, 'segmentation')
    drop(tab, 'notes.png', b'this is no picture')
    message = tab.wait_for_selector('text=notes.png (18 bytes) cannot be read as a picture')
    assert 'drop a PNG, JPEG' in message.inner_text() and source(tab, 'segmentation') == before

    # A sample, another block.
    tab.click('#samples [aria-label="Thumbnail 2 of 2"]')
    wait_for_change(tab, 'segmentation', before)
    tab.wait_for_timeout(500)
    before = source(tab, 'attention')
    slider = tab.query_selector('#block input[type=range]')
    slider.focus()
    tab.keyboard.press('ArrowLeft')
    wait_for_change(tab, 'attention', before)

    hosts = {url.split('/')[2] for url in tab.asked if url.startswith('http')}
    assert hosts == {address.split('/')[2]}, hosts  # nothing is fetched from, or sent to, anywhere else
