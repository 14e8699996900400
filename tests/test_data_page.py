"""docs/data.md: its check command runs, its trees are the ones that the tests write, its commands make them."""

import re
import runpy
import shutil
import subprocess

import pytest

from mmlocat.config import load_config
from mmlocat.datasets.check import check_data
from mmlocat.datasets.check.sources import SOURCES
from tests.conftest import ROOT
from tests.helpers.archives import workplace
from tests.helpers.forked import run_python
from tests.helpers.layouts import LEAVES, ROOTS, errors_of, leaf, make

PAGE = (ROOT / 'docs' / 'data.md').read_text(encoding='utf-8')
COMMANDS = [line for block in re.findall(r'^```bash\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]
TYPES = {'ade20k': 'ADE20KDataset', 'pascal_context59': 'PascalContextDataset59', 'coco_stuff164k': 'COCOStuffDataset',
         'voc2012': 'PascalVOCDataset', 'imagenet': 'ImageNet'}


def test_the_checks_run_as_shown(clean_environment, tmp_path, monkeypatch, capsys):
    command, *others = (line for line in COMMANDS if 'tools/data/check.py' in line)
    for dataset in ('ade20k', 'voc2012'):
        make(dataset, tmp_path)
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    python, *arguments = command.split()
    assert python == 'python'
    result = run_python(*arguments, cwd=tmp_path, environment=clean_environment)
    assert result.returncode == 0 and '0 errors, 2 remarks.' in result.stdout, result.stderr
    for option in set(re.findall(r'`(--[\w-]+)', PAGE)) - {'--cfg-options', '--no-data-check'}:
        assert f"'{option}'" in (ROOT / 'tools' / 'data' / 'check.py').read_text(encoding='utf-8')
    monkeypatch.chdir(tmp_path)  # another process would import everything anew
    script, config = others[0].split()[1:]
    assert len(others) == 1 and runpy.run_path(script)['main']([config]) == 0
    assert capsys.readouterr().out.endswith('0 errors, 3 remarks.\n')  # test, and the two parts of the memory


@pytest.mark.parametrize('dataset', sorted(ROOTS))
def test_the_trees_are_those_of_the_tests(dataset, tmp_path):
    make(dataset, tmp_path)
    tree = re.search(rf'^```text\n({re.escape(ROOTS[dataset])})/\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
    paths = [line.strip() for line in tree.group(2).splitlines()]
    assert len(paths) >= 2
    for path in paths:
        assert (tmp_path / tree.group(1) / path).is_file(), path


def test_the_commands_give_trees_that_pass_the_check(clean_environment, tmp_path, monkeypatch):
    """Every command, in the page's order, on archives packed as the publishers do; only the network is a stand-in."""
    if shutil.which('unzip') is None:
        pytest.skip('there is no unzip, which the commands use')
    environment = workplace(tmp_path, clean_environment)
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        if 'tools/data/check.py' not in command:
            result = subprocess.run(['bash', '-e', '-c', command.replace('python ', '"$PYTHON" ')], cwd=tmp_path,
                                    env=environment, capture_output=True, text=True, timeout=120)
            assert result.returncode == 0, f'{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}'
    for dataset in TYPES:
        made, wanted = (folder / ROOTS[dataset] for folder in (tmp_path, tmp_path / 'source'))
        names = {path.relative_to(wanted) for path in wanted.rglob('*') if path.is_file()}
        assert len(names) >= 8
        if dataset == 'coco_stuff164k':  # removed there before packing, so the converter made them anew
            assert len(list(made.rglob('*_labelTrainIds.png'))) == 8
        assert not {name for name in names if not (made / name).is_file()}
        assert errors_of(check_data(load_config(leaf(LEAVES[dataset])))) == []


def test_the_page_has_the_sections_and_counts_that_the_check_names():
    for kind in TYPES.values():
        section = PAGE.split(f'\n## {SOURCES[kind].name}')[1].split('\n## ')[0]
        assert all(f'{count:,}' in section for count in SOURCES[kind].counts.values()) and '```bash' in section
