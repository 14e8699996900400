"""The pages of the site: their Python runs, their commands run in short, and the site is built without a warning."""

import html
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmlocat.experiments.demo_models import demo_model
from mmlocat.visualization.sources import write_video
from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models
from tests.test_troubleshooting_page import quotes

DOCS = ROOT / 'docs'
# Where the blocks of a page are run: here, or in a test of its own.
ELSEWHERE = {'analysis.md': 'visualization/test_analysis_page.py', 'data.md': 'test_data_page.py',
             'own_data.md': 'test_own_data_page.py', 'weights.md': 'checkpoints/test_weights_page.py'}
PAGES = {path.name: path.read_text(encoding='utf-8') for path in sorted(DOCS.glob('*.md'))
         if path.name not in ELSEWHERE}


def blocks(language):
    return [(name, block) for name, text in PAGES.items()
            for block in re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)]


@pytest.fixture(scope='module')
def desk(tmp_path_factory):
    """A folder with what the pages speak of: pictures, a video, models of the demo, configs and checkpoints."""
    folder = tmp_path_factory.mktemp('desk')
    write_demo_models(folder / 'work_dirs' / 'demo')
    pixels = np.random.default_rng(0).integers(0, 256, (36, 48, 3), dtype=np.uint8)
    (folder / 'shots').mkdir()
    for name in ('photo.jpg', 'photo.png', 'shots/one.png', 'shots/two.png'):
        Image.fromarray(pixels).save(folder / name)
    with write_video(folder / 'clips' / 'clip.mp4', 5.0) as append:
        for _ in range(2):
            append(pixels)
    for arm, config, checkpoint in (('locatvit', 'CONFIG.py', 'FILE.pth'),
                                    ('vit', 'OTHER_CONFIG.py', 'OTHER_FILE.pth')):
        model = demo_model(arm, work_dir=folder / 'work_dirs' / 'demo')
        Config.fromfile(model.config).dump(folder / config)
        shutil.copy(model.checkpoint, folder / checkpoint)
    return folder


def test_every_page_is_of_the_site_and_every_block_is_tested():
    text = (ROOT / 'mkdocs.yml').read_text()
    assert set(re.findall(r': (\w+\.md)$', text, re.MULTILINE)) == {path.name for path in DOCS.glob('*.md')}
    assert all((ROOT / 'tests' / name).is_file() for name in ELSEWHERE.values())
    languages = {language for page in PAGES.values() for language in re.findall(r'^```(\w+)$', page, re.MULTILINE)}
    assert languages <= {'python', 'bash', 'sh', 'text', 'diff'}


def test_a_stranger_finds_the_way():
    """Nine entries at most; a page begins with whom it is for and what it is; the first one leads to all entries."""
    navigation = re.search(r'^nav:\n(.*?)^\w', (ROOT / 'mkdocs.yml').read_text(), re.DOTALL | re.MULTILINE)[1]
    entries = re.findall(r'^  - (.+?):', navigation, re.MULTILINE)
    assert 5 < len(entries) <= 9 and {'Start', 'Your own data', 'Weights', 'Troubleshooting', 'API'} <= set(entries)
    for path in DOCS.glob('*.md'):
        title, opening = path.read_text(encoding='utf-8').split('\n\n')[:2]
        if path.name != 'index.md':  # which begins as README does
            assert title.startswith('# '), path.name
            assert re.match(r'For (everyone|those|readers) .{40,}', opening, re.DOTALL), path.name
    first = PAGES['index.md']
    sections = re.split(r'^  - ', navigation, flags=re.MULTILINE)[2:]
    assert all(re.search(r': (\w+\.md)', section)[1] in re.findall(r'\((\w+\.md)\)', first) for section in sections)


@pytest.mark.parametrize('name, block', blocks('python'), ids=lambda value: value.split('\n')[0][:30])
def test_python_blocks_run(name, block, desk, monkeypatch):
    monkeypatch.chdir(desk)
    names = {}
    exec(block, names)
    if name == 'use.md' and 'labels' in names:
        assert names['labels'].shape == (36, 48) and names['names'][1] == 'zero'


@pytest.mark.parametrize('command', [line.split('  #')[0].strip() for _, block in blocks('bash')
                                     for line in block.splitlines() if line.startswith('python demo/')])
def test_commands_of_the_demo_run(command, desk, monkeypatch, capsys):
    """On small pictures; every other command is run by test_docs_commands.py."""
    monkeypatch.chdir(desk)
    script, *arguments = shlex.split(command)[1:]
    spec = importlib.util.spec_from_file_location('tool', ROOT / script)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', [script, *arguments])
    assert not tool.main()
    said = capsys.readouterr().out
    count = 3 if 'shots/' in arguments else 1
    folder = re.search(r'results are in (\S+)', said)[1]
    assert f'{count} of {count} done' in said
    if count == 3:
        assert {path.name for path in Path(folder).iterdir()} == {'one.png', 'two.png', 'clip.mp4'}
        assert cv2.VideoCapture(f'{folder}/clip.mp4').read()[0]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    for name in ('mkdocs', 'material', 'mkdocstrings', 'latex2mathml'):
        pytest.importorskip(name, reason=f'{name}, which the extra "docs" brings, is not installed')
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300,
                            env=dict(os.environ, NO_MKDOCS_2_WARNING='1'))
    assert result.returncode == 0 and 'WARNING' not in result.stderr, result.stderr[-3000:]
    return folder


def test_the_site_fetches_nothing_from_elsewhere(site):
    pages = sorted(site.rglob('*.html'))
    assert len(pages) >= len(list(DOCS.glob('*.md')))
    for page in pages:
        source = page.read_text(encoding='utf-8')
        fetched = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="?([^"\s>]+)', source)
        fetched += re.findall(r'<link[^>]*rel="?(?:stylesheet|preconnect|icon|preload)"?[^>]*href="?([^"\s>]+)', source)
        fetched += re.findall(r'<link[^>]*href="?([^"\s>]+)"?[^>]*rel="?(?:stylesheet|preconnect|icon|preload)', source)
        assert fetched and not [url for url in fetched if url.startswith(('http', '//'))], page.name
    for sheet in site.rglob('*.css'):
        assert not re.search(r'(@import|url\()\s*["\']?(https?:)?//', sheet.read_text(encoding='utf-8')), sheet.name


def test_the_site_has_readme_mathematics_and_docstrings(site):
    overview, method, api = (re.sub(r'\s+', ' ', (site / name).read_text(encoding='utf-8'))
                             for name in ('index.html', 'method.html', 'api.html'))
    assert 'Name one backbone in a config' in overview and '<!-- README' not in overview
    assert 'src="summary.png"' in overview
    # Inline formulas stay within their paragraphs, and nothing is left as it was typed.
    inline = '<span><math'
    assert method.count(inline) == ''.join(re.findall(r'<(?:p|td)>.*?</(?:p|td)>', method)).count(inline) > 20
    assert method.count('<math') > 20 and not re.search(r'<p>\s*<math(?![^>]*display="block")', method)
    assert '$' not in re.sub(r'<(pre|code|script).*?</\1>', '', method)
    assert 'id="mmlocat.attention.gaussian_attention"' in api and 'Patch representation refinement' in api


def test_the_search_finds_error_messages(site):
    entries = json.loads((site / 'search' / 'search_index.json').read_text(encoding='utf-8'))['docs']
    text = ' '.join(html.unescape(re.sub(r'<[^>]+>', '', entry['text'])) for entry in entries
                    if entry['location'].startswith('troubleshooting.html#'))
    missing = [quote for quote in quotes() if quote not in re.sub(r'\s+', ' ', text)]
    assert not missing
