"""Tables, verdict and picture of a suite, from the records of its tests."""

import json

import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets import DigitScenesSegmentation
from mmlocat.experiments.suite.picture import draw_summary, draw_trials
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.report import Report
from mmlocat.experiments.suite.rows import load_suite
from tests.helpers.demo_layout import write_demo_models

CLASSES = ['background', 'zero']
FIGURES = {'vit': ((20., 90.), (22., 92.)), 'locatvit': ((30., 94.), (21., 96.))}  # mIoU and top-1, by seed


def finish(job, record):
    """Leaves behind what a job that ended well does."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / job.product).touch()
    (job.folder / 'provenance.json').write_text(json.dumps(dict(version=1, **record)))
    job.record(0, 1.)


def measured(trial, value, class_iou=None):
    launch = dict(seed=trial.seed, leaf=trial.row.config.stem)
    finish(trial.train, dict(configs={}, launches=[launch], tests=[]))
    test = dict(leaf=trial.row.config.stem, config='c', classes=CLASSES if class_iou else None, class_iou=class_iou,
                metrics={'mIoU' if trial.row.head else 'accuracy/top1': value})
    finish(trial.test, dict(configs={'c': trial.config.to_dict()}, launches=[], tests=[test]))


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Suite, trials and work dir of a demo with two seeds; UperNet's head is not done."""
    folder = tmp_path_factory.mktemp('demo')
    suite = load_suite('demo', [0, 1])
    trials = plan_suite(suite, folder)
    for trial in trials:
        arm, head = trial.row.name.split('/')
        miou, top = FIGURES[arm][trial.seed]
        if head == 'pretrain':
            measured(trial, top)
        elif head == 'linear':
            measured(trial, miou, [miou, None if trial.seed else miou + 1])
    return suite, trials, folder


def test_tables(demo):
    report = Report(*demo)
    table = report.main_table()
    assert table.columns == ['model', 'head', 'top-1 %', 'mIoU %', 'parameters', 'images/s']
    plain, locat = table.rows
    assert plain == ['ViT', 'one layer, frozen', '91.0 ± 1.4', '21.0 ± 1.4', '', ''] and locat[3] == '25.5 ± 6.4'
    by_seed = report.seed_table()
    assert by_seed.columns == ['model', 'head', 'seed', 'top-1 %', 'mIoU %', 'background', 'zero']
    assert by_seed.rows[3] == ['LocAtViT', 'one layer, frozen', '1', '96.0', '21.0', '21.0', '']
    assert report.class_table().rows == [['background', '21.0', '25.5'], ['zero', '21.0', '31.0']]
    report.measure()
    plain, locat = report.main_table().rows
    assert (plain[4], locat[4]) == ('215,371', '215,767') and float(plain[5]) > 0 and float(locat[5]) > 0


def test_files(demo):
    suite, trials, folder = demo
    Report(*demo).write()
    text = (folder / 'summary.md').read_text()
    assert '| ViT | one layer, frozen | 91.0 ± 1.4 | 21.0 ± 1.4 |' in text and 'higher in 1 of 2 runs' in text
    rows = [row for section in json.loads((folder / 'summary.json').read_text()) for row in section['rows']]
    assert sorted(run['seed'] for row in rows for run in row['runs']) == [0] * 4 + [1] * 4
    assert all(run['test']['metrics'] and run['training']['launches'] for row in rows for run in row['runs'])
    Report(suite, [], folder / 'none').write()
    assert not (folder / 'none').exists()  # nothing is measured


def test_verdict_says_what_the_numbers_say(demo):
    suite, trials, folder = demo
    assert '4.5 ± 7.8 mIoU points (paired by seed), higher in 1 of 2 runs' in Report(*demo).verdict()
    assert Report(suite, [], folder).verdict() == ''
    assert Report(load_suite('retrofit'), [], folder).verdict() == ''


def test_rows_without_a_classifier_and_without_heads(tmp_path):
    suite = load_suite('digitscenes', [0]).select(['vit-untrained/*', 'prr/*'])
    trials = plan_suite(suite, tmp_path)
    for trial in trials:
        if trial.row.name != 'prr/linear':
            measured(trial, 16.8, [16.8, 0.] if trial.row.head else None)
    report = Report(suite, trials, tmp_path)
    report.write()
    assert [row[-2:] for row in report.seed_table().rows] == [['', ''], ['16.8', '0.0']]  # a classifier has no classes
    rows = report.main_table().rows
    assert rows == [['ViT + PRR', 'classifier', '16.8', '', '', ''],
                    ['ViT, untrained (floor)', 'one layer, frozen', 'untrained', '16.8', '', '']]


def test_picture(digit_scenes, tmp_path):
    dataset = DigitScenesSegmentation('test', str(digit_scenes))
    maps = [np.array(Image.open(dataset.get_data_info(index)['seg_map_path'])) for index in range(4)]
    draw_summary(tmp_path / 'summary.png', dataset, [('ViT', maps), ('LocAtViT', maps)])
    picture = np.asarray(Image.open(tmp_path / 'summary.png').convert('RGB'))
    assert picture.shape[1] > 500
    palette = np.asarray(dataset.metainfo['palette'])
    assert all((picture == colour).all(-1).any() for colour in palette)  # every class of the legend
    with pytest.raises(IndexError):
        draw_summary(tmp_path / 'broken.png', dataset, [('ViT', maps), ('LocAtViT', [maps[0] + 99])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['summary.png']


def test_picture_of_what_was_trained(digit_scenes, tmp_path):
    suite = load_suite('demo').with_options([f'test_dataloader.dataset.data_root={digit_scenes}'], heads=True)
    compared = [trial for trial in plan_suite(suite, tmp_path) if trial.row.name in suite.compare]
    write_demo_models(tmp_path)
    for trial in compared:
        (trial.train.folder / 'iter_1.pth').rename(trial.train.folder / trial.train.product)
    draw_trials(tmp_path / 'summary.png', compared, count=3)
    narrow = Image.open(tmp_path / 'summary.png').size
    draw_trials(tmp_path / 'wide.png', compared, count=99)  # as many scenes as there are
    assert Image.open(tmp_path / 'wide.png').size > narrow
