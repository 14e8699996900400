"""Every command and every config of docs/analysis.md runs, here on tiny data and untrained demo models."""

import re
import shlex

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmlocat.visualization import attention_pages
from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models
from tests.helpers.tool_runner import run_tool

PAGE = (ROOT / 'docs' / 'analysis.md').read_text(encoding='utf-8')
COMMANDS = [line for block in re.findall(r'^```bash\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines() if line.strip()]
CONFIG = re.search(r'^```python\n# (\w+\.py)\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
TOOLS = ('attention_maps', 'features', 'gaussians', 'train')


@pytest.fixture(scope='module')
def place(tmp_path_factory, digit_scenes):
    """A checkout after `make demo`, and a home with DigitScenes in its cache."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    write_demo_models(folder / 'work_dirs' / 'demo', heads=('pretrain', 'linear'))
    for short, real in (('locatvit/linear/iter_1.pth', 'iter_800.pth'), ('vit/pretrain/epoch_1.pth', 'epoch_5.pth')):
        checkpoint = folder / 'work_dirs' / 'demo' / 'seed0' / short
        checkpoint.rename(checkpoint.with_name(real))
    for seed in (1, 2):
        (folder / 'work_dirs' / 'demo' / f'seed{seed}').symlink_to(folder / 'work_dirs' / 'demo' / 'seed0')
    cache = folder / '.cache' / 'mmlocat'
    cache.mkdir(parents=True)
    (cache / 'digit_scenes-v1-seed0').symlink_to(digit_scenes)
    Image.new('RGB', (200, 120), (90, 30, 200)).save(folder / 'photo.jpg')
    for kind, mode in (('images', 'RGB'), ('masks', 'L')):
        (folder / 'my_data' / kind).mkdir(parents=True)
        for number in range(4):
            picture = Image.new(mode, (24, 24))
            picture.paste(number if mode == 'L' else (40 * number, 90, 0), (8, 4, 24, 20))
            picture.save(folder / 'my_data' / kind / f'{number}.png')
    (folder / CONFIG.group(1)).write_text(CONFIG.group(2))
    return folder


def test_every_tool_is_shown():
    assert {re.search(r'(\w+)\.py', command).group(1) for command in COMMANDS} == set(TOOLS)


def written(place):
    return {(path, path.stat().st_mtime_ns) for path in place.rglob('*') if path.is_file()}


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_run(command, place, digit_scenes, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv('HOME', str(place))
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    python, script, *arguments = shlex.split(command.split('  #')[0])
    assert python == 'python' and script.startswith('tools/')
    arguments = [argument.replace('~', str(place), 1) if argument.startswith('~') else argument
                 for argument in arguments]
    before = written(place)
    # The same work on less of it.
    if script.endswith('attention_maps.py'):
        monkeypatch.setattr(attention_pages, 'draw_block', lambda *given: Figure())
    elif script.endswith('features.py'):
        arguments += ['--max-images', '8']
        arguments += [] if 'my_data/images' in arguments else ['--data-root', str(digit_scenes)]
    elif script.endswith('train.py'):
        arguments += ['--no-validate', '--cfg-options', 'train_cfg.max_epochs=1', 'custom_hooks.0.interval=1',
                      f'train_dataloader.dataset.data_root={digit_scenes}',
                      f'test_dataloader.dataset.data_root={digit_scenes}']
    run_tool(script[len('tools/'):], *arguments)
    assert written(place) - before


def test_pictures_of_the_page_are_there():
    pictures = re.findall(r'!\[[^\]]+\]\(([\w.]+)\)', PAGE)
    assert pictures == ['attention_maps.png', 'features.png']
    for name in pictures:
        assert Image.open(ROOT / 'docs' / name).width > 800
