"""What suites cost: by hand for single jobs, sums over rows and seeds, and the table of docs/reproduce.md."""

import runpy
import sys

import pytest

from mmlocat.analysis.flops import count
from mmlocat.config import load_config
from mmlocat.experiments.suite import costs
from mmlocat.zoo import models
from tests.conftest import ROOT

TOOL = str(ROOT / 'tools' / 'benchmark' / 'suite_costs.py')
PAGE = (ROOT / 'docs' / 'reproduce.md').read_text(encoding='utf-8').split('<!-- costs -->')[1].split('<!-- /costs')[0]


def macs(name):
    return models()[name]['Metadata']['FLOPs']


def test_what_is_trained_counts_three_times_and_what_is_frozen_once():
    part, cost = costs.config_cost('locatvit-tiny_imagenet')
    assert (part, cost.jobs, cost.images) == ('pretraining', 1, 300 * 1281167)
    assert cost.flops == pytest.approx(3 * 2 * macs('locatvit-tiny_imagenet') * cost.images)
    assert cost.hours == pytest.approx(cost.flops / 100e12 / 3600)  # half precision
    part, cost = costs.config_cost('locatvit-tiny_linear_ade20k')
    assert (part, cost.images) == ('heads', 20000 * 32)
    assert cost.flops == pytest.approx(2 * macs('locatvit-tiny_linear_ade20k') * cost.images)
    assert cost.hours == pytest.approx(cost.flops / 10e12 / 3600)  # float32


def test_a_test_alone_computes_features_and_searches_all_pairs():
    part, cost = costs.config_cost('vit-tiny_hummingbird_ade20k')
    assert (part, cost.images) == ('tests alone', 20210 + 2000)
    search = 192 * (196 * 20210) * (196 * 2000)
    assert cost.flops == pytest.approx(2 * (macs('vit-tiny_hummingbird_ade20k') * cost.images + search))


def test_dino_counts_ten_crops_of_the_student_and_two_of_the_teacher():
    _, cost = costs.config_cost('vit-small_dino_imagenet')
    config = load_config(str(ROOT / 'configs' / 'vit-small_dino_imagenet.py'))
    large, small = macs('vit-small_dino_imagenet'), count(config, (96, 96)).macs
    assert 0 < small < large / 4
    assert cost.flops == pytest.approx(2 * (3 * (2 * large + 8 * small) + 2 * large) * 100 * 1281167)


def test_a_suite_is_the_sum_over_rows_and_seeds(tmp_path):
    (tmp_path / 'mine.yml').write_text('''rows:
  - {config: vit-tiny_imagenet.py}
  - {config: vit-tiny_linear_ade20k.py, checkpoint: vit-tiny_imagenet, seeds: [0, 1, 2]}
''')
    rows = costs.cost_table([str(tmp_path / 'mine.yml')]).rows
    parts = {'pretraining': 1, 'heads': 3}
    assert [row[1:3] for row in rows] == [[part, str(jobs)] for part, jobs in parts.items()]
    assert rows[1][3] == '1.9' and rows[1][4] == f'{3 * 2 * macs("vit-tiny_linear_ade20k") * 640000 / 1e15:.0f}'


def test_the_pages_single_trainings_are_what_the_command_gives():
    lines = costs.cost_table(costs.EXAMPLES).markdown().splitlines()[2:]
    assert len(lines) == len(costs.EXAMPLES) and all(line in PAGE.splitlines() for line in lines), \
        'run python tools/benchmark/suite_costs.py --readme docs/reproduce.md'


@pytest.mark.soak
def test_the_pages_table_is_what_the_command_gives():
    names = [*costs.suites(), *costs.EXAMPLES]
    assert {'paper', 'swin', 'rope', 'jumbo', 'retrieval'} <= set(names) and 'digitscenes' not in names
    assert costs.cost_table(names).markdown().strip() == PAGE.strip(), \
        'run python tools/benchmark/suite_costs.py --readme docs/reproduce.md'


def test_every_suite_for_gpus_stands_on_the_page():
    """Number of jobs and of images follow from the suite and its configs; operations are compared above."""
    for name in costs.suites():
        jobs = sum(seeds for _, seeds in costs.jobs_of(name))
        cells = [[cell.strip() for cell in line.split('|')] for line in PAGE.splitlines() if f'| {name} |' in line]
        assert sum(int(row[3].replace(',', '')) for row in cells) == jobs, \
            'run python tools/benchmark/suite_costs.py --readme docs/reproduce.md'


def test_command(tmp_path, monkeypatch, capsys):
    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- costs -->\nold\n<!-- /costs -->\nb\n')
    monkeypatch.setattr(sys, 'argv', [TOOL, 'vit-tiny_linear_ade20k', '--readme', str(page)])
    assert runpy.run_path(TOOL, run_name='tool')['main']() == 0
    assert '| vit-tiny_linear_ade20k | heads | 1 | 0.6 |' in page.read_text() and 'old' not in page.read_text()
    monkeypatch.setattr(sys, 'argv', [TOOL, 'papper'])
    assert runpy.run_path(TOOL, run_name='tool')['main']() == 1
    assert 'Error: suite papper does not exist; mmlocat ships ' in capsys.readouterr().err
