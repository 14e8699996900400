"""The page of `make app` in a real browser: a picture is dropped, a patch is clicked, a bad file gives a message."""

import importlib.util
import io
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image

from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models

pytest.importorskip('gradio', reason='gradio, which the extra "app" brings, is not installed')

from mmlocat.experiments.demo_models import demo_model  # noqa: E402
from mmlocat.visualization import load_segmentor, web  # noqa: E402
from mmlocat.visualization.arguments import load_segmentors  # noqa: E402
from mmlocat.visualization.maps import collect, prepare_image  # noqa: E402
from mmlocat.visualization.overlay import compose  # noqa: E402
from mmlocat.visualization.segmentor import load_predictor  # noqa: E402
from tests.visualization.test_channels import case, registered  # noqa: E402, F401

CHROMIUM = os.environ.get('CHROMIUM', '/usr/bin/chromium')
OPTIONS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking']


@pytest.fixture(scope='module')
def demo_dir(tmp_path_factory):
    return write_demo_models(tmp_path_factory.mktemp('demo'))


def load(demo_dir, **changes):
    args = SimpleNamespace(**{**dict(config=None, checkpoint=None, against=[], max_side=None, device='cpu',
                                     trust_pickle=False), **changes})
    return load_segmentors(args, lambda arm: demo_model(arm, work_dir=demo_dir), load_predictor)


def picture(seed, height=36, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def call(page, name, *values):
    """Calls a function of the page as gradio does."""
    return next(function.fn for function in page.fns.values() if function.name == name)(*values)


def test_a_look_shows_the_numbers_of_the_model(demo_dir):
    models = load(demo_dir)
    page = web.build_page(models, [picture(0)])
    chosen, shown, attention, segmentation = call(page, 'pick', 4, SimpleNamespace(index=0))
    assert chosen.patches == [(4, 6)] and np.array_equal(shown[::10, ::10], picture(0))  # the middle of 9 x 12
    assert shown.shape == (360, 480, 3)
    image = picture(0)
    assert np.array_equal(segmentation, compose(image, [model.predict(image[..., ::-1]) for model in models]))
    looks = [attention, call(page, 'draw', chosen, 1)]
    for at, patch in (((0, 0), (0, 0)), ((40, 39), (0, 1)), ((479, 359), (8, 11))):
        clicked, look = call(page, 'click', chosen, 4, SimpleNamespace(index=at))
        assert clicked.patches == [patch]
        looks.append(look)
    assert all(one.shape == other.shape and (one != other).any() for one, other in zip(looks, looks[1:]))
    # The maps drawn are the model's own.
    model = models[0].model
    expected = collect(model, prepare_image(model, image)).blocks[3].attention((8, 11))
    assert np.array_equal(clicked.maps.blocks[3].attention((8, 11)).with_gaug, expected.with_gaug)
    assert np.abs(expected.difference).max() > 1e-4


def test_a_plain_vit_shows_its_attention_alone(demo_dir):
    vit = demo_model('vit', work_dir=demo_dir)
    own = load(demo_dir, config=str(vit.config), checkpoint=str(vit.checkpoint), against=None)
    chosen, _, attention, segmentation = call(web.build_page(own, [picture(0)]), 'pick', 2, SimpleNamespace(index=0))
    assert not chosen.maps.blocks[0].has_gaug and attention.ndim == segmentation.ndim == 3


def said(page):
    return '\n'.join(str(getattr(block, 'value', '')) for block in page.blocks.values())


def test_a_classifier_names_five_classes_beside_a_segmentor(demo_dir, tmp_path, monkeypatch):
    """Both tasks on one page, which says what it shows: a shipped config by name, with weights of 3 epochs."""
    logged = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', logged.append)
    untrained, = load(demo_dir, config='locatvit-nano_digitscenes', against=None)
    assert untrained.title == 'locatvit-nano_digitscenes, random weights'
    assert not any('torch.Size' in record.getMessage() for record in logged)  # no lines for every weight
    model, file = untrained.model, tmp_path / 'mine.pth'
    torch.nn.init.normal_(model.head.layers.head.weight)
    names = ['crane', 'crane', *(f'name {index}' for index in range(2, 10))]
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3, iter=12, dataset_meta=dict(classes=names))), file)
    models = load(demo_dir, config='locatvit-nano_digitscenes', checkpoint=str(file), against=[])
    page = web.build_page(models, [picture(0, 24, 24)])
    assert f'`config locatvit-nano_digitscenes.py, checkpoint {file}, epoch 3, iteration 12`' in said(page)
    assert 'LocAtViT' not in models[1].title and f'{models[1].title}: `config vit-nano_linear' in said(page)
    assert page.title.startswith('mmlocat: locatvit-nano_digitscenes, mine (config')
    _, _, attention, segmentation, classes = call(page, 'pick', 2, SimpleNamespace(index=0))
    assert attention.ndim == segmentation.ndim == 3
    with torch.no_grad():
        scores = models[0].model(prepare_image(models[0].model, picture(0, 24, 24)))[0].softmax(0)
    best = scores.argsort(descending=True)[:5].tolist()
    assert list(classes) == [f'crane (class {index})' if index < 2 else names[index] for index in best]
    assert np.allclose(list(classes.values()), scores[best], atol=1e-5)


@pytest.mark.parametrize('config, checkpoint, message', [
    ('locatvit-nano_linear_digitscenes', 'vit', 'does not fit the model of this config'),
    ('vit-nano_linear_digitscenes', 'gone.pth', 'gone.pth'),
    ('vit-nano_liner_digitscenes', None, "no model is named 'vit-nano_liner_digitscenes'; did you mean"),
    ('none.py', None, 'config none.py does not exist'),
    ('nodata.py', None, 'config nodata.py has no test_dataloader with a pipeline'),
    ('vit-nano_hummingbird_digitscenes', None, 'is of a classifier without a head'),
    ('heads.py', None, 'heads.py has several heads (MultiTaskHead), and here one answer is shown'),
    ('locatvit-nano_dino_digitscenes', None, 'is of no segmentor or classifier: its model is of type DINO'),
])
def test_bad_models_are_named_before_the_page_is_served(config, checkpoint, message, tool, demo_dir, tmp_path,
                                                        monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('nodata.py').write_text(f"_base_ = {str(ROOT / 'configs' / 'vit-nano_digitscenes.py')!r}\n"
                                 'test_dataloader = None\n')
    Path('heads.py').write_text(f"_base_ = {str(ROOT / 'configs' / 'vit-nano_digitscenes.py')!r}\n"
                                "model = dict(head=dict(_delete_=True, type='MultiTaskHead', task_heads=dict()))\n")
    given = str(demo_model('vit', work_dir=demo_dir).checkpoint) if checkpoint == 'vit' else checkpoint
    monkeypatch.setattr(sys, 'argv', ['app.py', '--config', config, *(['--checkpoint', given] if given else [])])
    monkeypatch.setattr(web, 'launch', lambda *_: pytest.fail('it was served'))
    with pytest.raises(SystemExit) as end:
        tool.main()
    assert end.value.code == 1 and message in capsys.readouterr().err.splitlines()[1]


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('app', ROOT / 'demo' / 'app.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line(tool, demo_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['app.py'])
    assert tool.read_options().host == '127.0.0.1'
    monkeypatch.setattr(sys, 'argv', ['app.py', '--demo-dir', str(tmp_path)])
    with pytest.raises(SystemExit):
        tool.main()
    assert 'run `make demo`' in capsys.readouterr().err
    Image.fromarray(picture(0, 100, 200)).save(tmp_path / 'a.png')
    monkeypatch.setattr(sys, 'argv', ['app.py', '--demo-dir', str(demo_dir), '--samples', str(tmp_path / 'a.png')])
    served, samples, build = [], [], web.build_page
    monkeypatch.setattr(web, 'build_page', lambda models, pictures: samples.extend(pictures) or build(models, pictures))
    monkeypatch.setattr(web, 'launch', lambda page, host, port: served.append((host, port)))
    tool.main()
    assert served == [('127.0.0.1', None)] and [sample.shape for sample in samples] == [(36, 72, 3)]


@pytest.fixture(scope='module')
def address(demo_dir):
    page = web.build_page(load(demo_dir), [picture(7), picture(8)])
    yield web.launch(page, '127.0.0.1', None, block=False)
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

    tab.wait_for_function("document.querySelector('#picture img').naturalWidth == 480")  # it has been loaded

    # A click near a corner: Gaussians and attention change, segmentations stay.
    waits = []
    for x in (0.1, 0.5, 0.9):
        before = {name: source(tab, name) for name in ('attention', 'segmentation')}
        box = tab.query_selector('#picture img').bounding_box()
        tab.mouse.click(box['x'] + x * box['width'], box['y'] + 0.3 * box['height'])
        waits.append(wait_for_change(tab, 'attention', before['attention']))
        assert source(tab, 'segmentation') == before['segmentation']
    print(f'from click to changed picture in Chromium: {", ".join(f"{wait:.2f}" for wait in waits)} s')

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


@pytest.mark.parametrize('case', [(4, 8)], indirect=True)
def test_an_image_of_four_channels_is_shown_by_three(case):  # noqa: F811
    models = [load_segmentor(case.config, case.checkpoint, 'cpu')]
    page = web.build_page(models, [web._read(case.file, models[0])])
    assert 'channels 1 to 3 of 4 shown' in said(page)
    _, shown, attention, segmentation = call(page, 'pick', 2, SimpleNamespace(index=0))
    assert np.array_equal(shown[::16, ::16], case.image[..., 2::-1])  # blue, green, red
    assert attention.ndim == segmentation.ndim == 3
    models[0].max_side = 10
    assert web._read(case.file, models[0]).shape == (7, 10, 4)
