"""What the README shows: its Python runs, its diff makes a working config. Its commands: test_docs_commands.py."""

import re
import subprocess
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from tests.conftest import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf-8')
# These have tests of their own.
PAGES = {path.name: path.read_text(encoding='utf-8') for path in sorted((ROOT / 'docs').glob('*.md'))
         if path.name not in ('analysis.md', 'data.md', 'own_data.md', 'weights.md')}
FAMILIES = sorted((ROOT / 'configs' / 'metafiles').glob('*.md'))


def blocks(language, text=README):
    found = re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    assert found, f'no {language} block'
    return found


def test_python_blocks_run():
    names = {}
    for block in blocks('python'):
        exec(block, names)
    assert names['out'].shape == names['query'].shape and torch.isfinite(names['out']).all()
    assert names['tokens'].shape == (1, 1 + 16 * 20, 192) and torch.isfinite(names['tokens']).all()


def test_the_slurm_script_requeues_what_was_stopped(tmp_path):
    """With stand-ins for Slurm's commands; `srun` ends as a training does after SIGUSR1, then as one that is done."""
    script, = blocks('sh', PAGES['reliability.md'])
    assert script.startswith('#SBATCH ') and (ROOT / 'tools' / 'train.py').is_file()
    for code, said in ((138, 'requeue 7'), (143, 'requeue 7'), (0, ''), (1, '')):
        (tmp_path / 'srun').write_text(f'#!/bin/sh\nexit {code}\n')
        (tmp_path / 'scontrol').write_text('#!/bin/sh\necho "$@"\n')
        for name in ('srun', 'scontrol'):
            (tmp_path / name).chmod(0o755)
        result = subprocess.run(['bash', '-c', script], env=dict(PATH=f'{tmp_path}:/usr/bin:/bin', SLURM_JOB_ID='7'),
                                capture_output=True, text=True)
        assert result.stdout.strip() == said and not result.stderr


@pytest.mark.parametrize('family', [path.stem for path in FAMILIES if '```python' in path.read_text()])
def test_python_of_the_families_runs(family):
    for block in blocks('python', (FAMILIES[0].parent / f'{family}.md').read_text()):
        names = {}
        exec(block, names)
        assert names['model'].backbone.num_layers == 12


def test_the_sharded_config_of_the_configs_page():
    block, = blocks('python', (ROOT / 'configs' / 'README.md').read_text())
    for relative in ('./locatvit', './_base_'):
        block = block.replace(relative, str(ROOT / 'configs' / relative))
    config = Config.fromstring(block, '.py')
    assert config.strategy.type == 'ResumableFSDPStrategy' and config.model.backbone.type == 'LocAtViT'


def test_the_leaderboard_has_its_markers():
    assert README.count('<!-- leaderboard:digitscenes -->\n') == README.count('<!-- /leaderboard:digitscenes -->') == 1


def test_every_config_in_the_table_exists():
    names = re.findall(r'`([\w-]+_(?:imagenet|ade20k)\.py)`', README)
    assert len(names) >= 6 and all((ROOT / 'configs' / name).is_file() for name in names)


def test_the_table_of_models_says_which_configs_exist():
    columns = (['imagenet', 'mini-imagenet'],
               [f'linear_{data}' for data in ('ade20k', 'pascal_context59', 'coco_stuff164k')],
               ['knn_imagenet'], ['hummingbird_ade20k', 'hummingbird_voc2012'])
    rows = re.findall(r'^\| `([\w-]+)` \| `([\w-]+)` \| (.*) \|$', README, re.MULTILINE)
    assert len(rows) == 5
    for *models, cells in rows:
        *cells, dino = [cell.strip() for cell in cells.split('|')]
        for model in models:
            first, _, rest = model.partition('-')
            for arch in (model, f'{first}-tiny' + (f'-{rest}' if rest else '')):
                for cell, names in zip(cells, columns):
                    assert [(ROOT / 'configs' / f'{arch}_{name}.py').is_file() for name in names] == (
                        [cell == 'yes'] * len(names))
            for name in ('dino', 'dino-knn', 'dino-linear'):
                assert (ROOT / 'configs' / f'{model}-small_{name}_imagenet.py').is_file() is (dino == 'Small')


def test_the_diff_changes_a_stock_config_into_a_model_that_runs(tmp_path):
    stock = Path(mmseg.__file__).parent / '.mim' / 'configs' / 'vit'
    kept = [line[1:] for line in blocks('diff')[0].splitlines() if line[0] in '+ ']
    assert 1 <= sum(line.startswith('+') for line in blocks('diff')[0].splitlines()) <= 5
    (tmp_path / 'config.py').write_text('\n'.join(kept).replace("'./vit_vit", f"'{stock}/vit_vit"))
    model = Config.fromfile(tmp_path / 'config.py').model
    init_default_scope('mmseg')
    assert model.backbone.pop('init_cfg').checkpoint == 'locatvit_base.pth'
    with torch.no_grad():
        out = MODELS.build(model).eval()(torch.zeros(1, 3, 64, 64))
    assert out.shape[:2] == (1, 150)


def test_every_link_to_a_file_leads_somewhere():
    for page in [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md'), *FAMILIES]:
        for target in re.findall(r'\]\((?!http|#)([^)]+)\)', page.read_text(encoding='utf-8')):
            assert (page.parent / target.split('#')[0]).exists(), target
