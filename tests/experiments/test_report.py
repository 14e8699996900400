"""Table, verdict and picture of a suite, from the records of its tests."""

import json

import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets import DigitScenesSegmentation
from mmlocat.experiments.leaderboard.board import add_costs
from mmlocat.experiments.suite import scenes
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.report import Report
from mmlocat.experiments.suite.rows import load_suite
from mmlocat.experiments.suite.scenes import draw_quantiles, draw_trials, mean_iou, query_patch
from tests.helpers.demo_layout import write_demo_models
from tests.helpers.records import put

FIGURES = {'vit': ((20., 90.), (22., 92.)), 'locatvit': ((30., 94.), (21., 96.))}  # mIoU and top-1, by seed
HEAD = 'frozen backbone, one-layer head'


def measured(trial, value):
    """Leaves behind what a training and a test that ended well do."""
    given = dict(folders=(trial.train.folder, trial.test.folder)) if trial.train else dict(
        folders=[trial.test.folder] * 2, training=False,
        tested=dict(source='x.pth', sha256=str(trial.parent.train.folder)))
    put(None, trial.row.config.stem, trial.seed, value, **given)
    for job in trial.jobs:
        (job.folder / job.product).touch()
        job.record(0, 1.)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Suite, trials and work dir of a demo with two seeds; UperNet's head is not done."""
    folder = tmp_path_factory.mktemp('demo')
    suite = load_suite('demo', [0, 1])
    trials = plan_suite(suite, folder)
    for trial in trials:
        arm, head = trial.row.name.split('/')
        if head != 'upernet':
            measured(trial, FIGURES[arm][trial.seed][head == 'pretrain'])
    return suite, trials, folder


def test_table(demo):
    report = Report(*demo)
    assert report.table().columns == ['model', 'head', 'top-1 %', 'mIoU %', 'parameters']
    plain, locat = report.table().rows
    assert plain == ['ViT', HEAD, '91.0 ± 1.4', '21.0 ± 1.4', ''] and locat[3] == '25.5 ± 6.4'
    add_costs(list(report.rows.values()))
    assert [row[4] for row in report.table().rows] == ['215,371', '215,767']


def test_files(demo):
    suite, trials, folder = demo
    Report(*demo).write()
    text = (folder / 'summary.md').read_text()
    assert f'| ViT | {HEAD} | 91.0 ± 1.4 | 21.0 ± 1.4 |' in text and 'Measured 2026-11-23 on A CPU' in text
    assert '4.5 ± 7.8 mIoU points (paired by seed), higher in 1 of 2 runs' in text
    runs = [run for row in json.loads((folder / 'summary.json').read_text()) for run in row['runs']]
    assert sorted(run['seed'] for run in runs) == [0] * 4 + [1] * 4
    assert all(run['test']['metrics'] and run['training']['launches'] for run in runs)
    nothing = Report(suite, [], folder / 'none')
    nothing.write()
    assert not (folder / 'none').exists() and nothing.verdict() == ''


def test_rows_that_train_or_test_alone(tmp_path):
    suite = load_suite('dino').select(['vit-small_dino-knn*'])
    dino, knn = trials = plan_suite(suite, tmp_path)
    result = put(None, dino.row.name, 0, 0., folders=(dino.train.folder, tmp_path / 'no test'))
    put(None, knn.row.name, 0, 70., training=False, tested=result, folders=(tmp_path / 'none', knn.test.folder))
    for job in (dino.train, knn.test):
        (job.folder / job.product).touch()
        job.record(0, 1.)
    report = Report(suite, trials, tmp_path)
    assert report.table().rows == [['ViT', 'k-NN of DINO pretraining', '', '70.0', '', '']]
    run, = report.rows[knn.row.name].runs
    assert run.training.folder == dino.train.folder.resolve() and run.deviations == []


def test_two_data_sets_are_told_apart_and_compared_each(tmp_path):
    suite = load_suite('retrofit', [0]).select(['*/plain/100/*', '*/identity/100/*'])
    trials = plan_suite(suite, tmp_path)
    for trial in trials:
        data, arm, *_ = trial.row.name.split('/')
        measured(trial, 30. + (arm == 'identity') * (2 if data == 'digitscenes' else -1))
        if data == 'stampscenes' and trial.row.head:  # as a test with BoundaryIoU leaves it
            record = json.loads((trial.test.folder / 'provenance.json').read_text())
            record['tests'][0]['metrics']['mBoundaryIoU'] = 12.34
            (trial.test.folder / 'provenance.json').write_text(json.dumps(record))
    report = Report(suite, trials, tmp_path)
    table = report.table()
    assert table.columns == ['data set', 'model', 'head', 'top-1 %', 'mIoU %', 'boundary IoU %', 'parameters']
    assert [(line[0], line[4], line[5]) for line in table.rows if line[2] == HEAD] == [
        ('DigitScenes', '30.0', ''), ('DigitScenes', '32.0', ''), ('StampScenes', '30.0', '12.3'),
        ('StampScenes', '29.0', '12.3')]
    assert 'DigitScenes, frozen' in report.verdict() and '2.0 mIoU points' in report.verdict()
    assert 'StampScenes, frozen' in report.verdict() and '-1.0 mIoU points' in report.verdict()


def test_rows_without_a_classifier_and_without_heads(tmp_path):
    suite = load_suite('digitscenes', [0]).select(['vit-untrained/*', 'prr/*'])
    trials = plan_suite(suite, tmp_path)
    for trial in trials:
        if trial.row.name != 'prr/linear':
            measured(trial, 16.8)
    rows = Report(suite, trials, tmp_path).table().rows
    assert rows == [['ViT + PRR', 'classifier', '16.8', '', ''],
                    ['ViT, untrained (floor)', HEAD, 'untrained', '16.8', '']]


def test_evaluations_without_a_head_stand_in_the_line_of_their_model(tmp_path):
    suite = load_suite('digitscenes-variants', [0]).select(['swin/*', 'rope/knn', 'jumbo/linear'])
    trials = plan_suite(suite, tmp_path)
    values = {'pretrain': 97., 'linear': 30., 'knn': 88., 'hummingbird': 12.}
    for trial in trials:
        measured(trial, values[trial.row.name.split('/')[1]])
    report = Report(suite, trials, tmp_path)
    assert report.table().columns == ['model', 'head', 'top-1 %', 'k-NN %', 'retrieval mIoU %', 'mIoU %', 'parameters']
    assert report.table().rows == [['Swin', HEAD, '97.0', '88.0', '12.0', '30.0', ''],
                                   ['ViT + RoPE', 'classifier', '97.0', '88.0', '', '', ''],
                                   ['Jumbo', HEAD, '97.0', '', '', '30.0', '']]
    evaluated = [report.rows[name] for name in ('swin/knn', 'swin/hummingbird', 'rope/knn')]
    assert not any(run.deviations for row in evaluated for run in row.runs)


def test_picture_of_what_was_trained(digit_scenes, tmp_path):
    suite = load_suite('demo').with_options({'test_dataloader.dataset.data_root': str(digit_scenes)}, heads=True)
    compared = [trial for trial in plan_suite(suite, tmp_path) if trial.row.name in suite.compare]
    write_demo_models(tmp_path)
    for trial in compared:
        (trial.train.folder / 'iter_1.pth').rename(trial.train.folder / trial.train.product)
    draw_trials(tmp_path / 'summary.png', compared, count=3)
    draw_trials(tmp_path / 'wide.png', compared, count=99)  # as many scenes as there are
    narrow, wide = (Image.open(tmp_path / name) for name in ('summary.png', 'wide.png'))
    assert wide.size > narrow.size
    pixels = np.asarray(wide.convert('RGB'))
    assert all((pixels == colour).all(-1).any() for colour in DigitScenesSegmentation.METAINFO['palette'])  # the legend
    draw_quantiles(tmp_path / 'chosen.png', compared)
    assert Image.open(tmp_path / 'chosen.png').height > narrow.height / 2
    drawn, = chosen_by(compared)
    scores, gaussians = drawn
    assert len(scores) == 4 and scores == sorted(scores)
    assert gaussians and all(len(own) == 2 for own in gaussians.values())  # a Gaussian in each head


def chosen_by(compared):
    """Returns what a picture of quantiles draws: the first model's mIoU below its maps, and the Gaussians."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes._Scenes, 'draw', lambda self, path, lines, rule, gaussians: drawn.append(
            ([float(note.split()[1]) for note in lines[2].notes], gaussians)))
        draw_quantiles(None, compared)
    return drawn


def test_the_score_and_the_query_of_a_scene():
    label = np.zeros((8, 8), np.uint8)
    label[0:2, 0:3], label[4:8, 3:8] = 2, 5
    assert query_patch(label, (4, 4)) == (2, 2)  # the first of four patches that the larger object fills
    label[4:8, 0:3] = 5
    assert query_patch(np.repeat(label, 2, 1), (4, 8)) == (2, 3)  # in the middle of a row of them
    label[4:8, 0:3] = 0
    assert mean_iou(label, label) == 1
    assert mean_iou(np.where(label == 2, 0, label), label) == pytest.approx((38 / 44 + 0 + 1) / 3)
