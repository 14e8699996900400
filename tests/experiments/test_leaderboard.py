"""From records to tables: deviations, tracing of weights, mean and spread, and what is written."""

import copy
import csv
import io
import json
import runpy
import sys

import pytest
from PIL import Image

from mmlocat.experiments.leaderboard import output
from mmlocat.experiments.leaderboard.board import add_costs, add_speed, build_board
from mmlocat.experiments.leaderboard.deviations import recipe
from mmlocat.experiments.leaderboard.plot import draw
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.training.provenance import config_hash
from tests.conftest import ROOT

LINEAR, CLASSIFIER = 'locatvit-nano_linear_digitscenes', 'locatvit-nano_digitscenes'


def put(root, leaf, seed, value, *, initial=None, batch=None, finished=True, tta=False, device='A CPU', base=None,
        processes=1, training=True, **changes):
    """Writes the record of a training and its test as tools/train.py and tools/test.py would; returns the hash."""
    settings = copy.deepcopy(recipe(base or leaf))
    for key, new in changes.items():
        node = settings
        *path, last = key.split('__')
        for part in path:
            node = node[part]
        node[last] = new
    digest, folder = config_hash(settings), root / leaf / f'{seed}-{len(list(root.rglob("*.json")))}'
    result = f'{leaf}{seed}{digest}'
    common = dict(date='2026-11-23T10:00:00+00:00', leaf=leaf, config=digest, options={}, remarks=[],
                  checkout=dict(commit='c' * 40, dirty=False), versions=dict(torch='2.14', mmlocat='0.1'), seed=seed,
                  processes=processes, device=device)
    end = dict(date=common['date'], iteration=1, iterations=1, seconds=1., seconds_per_iteration=.1,
               checkpoint=dict(source='x.pth', sha256=result))
    expected = settings['auto_scale_lr']['base_batch_size']
    launch = dict(common, total_batch=batch or expected, initial_checkpoint=initial, resumed_from=None,
                  first_iteration=0, finished=end if finished else None)
    head = 'linear' in leaf
    test = dict(common, checkpoint=dict(source='x.pth', sha256=result), tta=tta, images=9, seconds=1.,
                metrics={'mIoU' if head else 'accuracy/top1': value}, classes=['a', 'b'] if head else None,
                class_iou=[value, None] if head else None)
    folder.mkdir(parents=True)
    (folder / 'provenance.json').write_text(json.dumps(dict(
        version=1, configs={digest: settings}, launches=[launch] if training else [], tests=[test])))
    return dict(source='x.pth', sha256=result)


def only(root):
    run, = gather([root])
    return run


def deviations(root, leaf=LINEAR):
    run, = [run for run in gather([root]) if run.leaf.name == leaf]
    return run.deviations


@pytest.fixture
def weights(tmp_path):
    return put(tmp_path, CLASSIFIER, 0, 98.)


def test_a_faithful_run_is_not_marked_and_its_weights_are_traced(tmp_path, weights):
    put(tmp_path, LINEAR, 0, 40., initial=weights)
    run, = [run for run in gather([tmp_path]) if run.leaf.name == LINEAR]
    assert run.deviations == [] and run.value == 40. and run.seed == 0
    assert run.pretraining.leaf.name == CLASSIFIER
    # Neither folders, workers, logs, nor the batch of a process among several make a difference.
    put(tmp_path, LINEAR, 1, 41., initial=weights, processes=2, train_dataloader__dataset__data_root='/elsewhere',
        train_dataloader__num_workers=9, train_dataloader__batch_size=16, default_hooks__logger__interval=7,
        default_hooks__checkpoint__interval=3, train_cfg__val_interval=8)
    assert all(run.deviations == [] for run in gather([tmp_path]))


@pytest.mark.parametrize(('changes', 'reason'), [
    (dict(batch=8), 'total batch 8 instead of 32'),
    (dict(train_cfg__max_iters=5), '5 iterations instead of 800'),
    (dict(optim_wrapper__optimizer__lr=0.5), 'optim_wrapper.optimizer.lr = 0.5 (recipe: 0.003)'),
    (dict(model__backbone__gaug=False), 'model.backbone.gaug = False (recipe: True)'),
    (dict(train_dataloader__dataset__indices=4), 'train_dataloader.dataset.indices = 4 (recipe: (none))'),
    (dict(custom_hooks=[dict(type='EMAHook')]), 'custom_hooks.0.type = EMAHook (recipe: (none))'),
    (dict(tta=True), 'test-time augmentation'),
    (dict(finished=False), 'no finished training in these work dirs ends with this checkpoint'),
    (dict(training=False), 'no finished training in these work dirs ends with this checkpoint'),
    (dict(initial=None), 'the frozen backbone is random'),
    (dict(initial=dict(source='mine.pth', sha256='1')),
     'starts from mine.pth, which no training in these work dirs ends with'),
])
def test_a_deviating_run_says_why(changes, reason, tmp_path, weights):
    put(tmp_path, LINEAR, 0, 40., **{**dict(initial=weights), **changes})
    assert reason in deviations(tmp_path)


def test_other_pretraining_is_named(tmp_path):
    other = put(tmp_path, 'vit-nano_digitscenes', 0, 98.)
    put(tmp_path, LINEAR, 0, 40., initial=other)
    assert deviations(tmp_path) == [f'starts from the result of vit-nano_digitscenes.py instead of {CLASSIFIER}.py']
    shorter = put(tmp_path / 'b', CLASSIFIER, 0, 98., train_cfg__max_epochs=1)
    put(tmp_path / 'b', LINEAR, 0, 40., initial=shorter)
    assert deviations(tmp_path / 'b') == ['pretraining: 1 epochs instead of 5']


def test_published_weights_need_no_training_of_ones_own(tmp_path):
    hub = dict(source='hf://sinahmr/locatvit_base', sha256=None)
    put(tmp_path, 'locatvit_linear_ade20k', 0, 32., initial=hub, device='A GPU')
    assert only(tmp_path).deviations == []
    put(tmp_path / 'b', 'locatvit_linear_ade20k', 0, 32., initial=dict(source='mine.pth', sha256='1'))
    assert 'starts from mine.pth instead of hf://sinahmr/locatvit_base' in only(tmp_path / 'b').deviations


def test_configs_that_mmlocat_does_not_ship(tmp_path):
    put(tmp_path, 'my_linear_thing', 0, 40., base=LINEAR)
    assert only(tmp_path).deviations[0] == 'mmlocat ships no config my_linear_thing.py'


def test_a_second_test_of_a_checkpoint_replaces_the_first(tmp_path, weights):
    put(tmp_path, LINEAR, 0, 40., initial=weights)
    path, = (tmp_path / LINEAR).rglob('provenance.json')
    record = json.loads(path.read_text())
    record['tests'].append({**record['tests'][0], 'date': '2026-11-24T10:00:00+00:00', 'metrics': {'mIoU': 41.}})
    path.write_text(json.dumps(record))
    assert [run.value for run in gather([tmp_path]) if run.leaf.name == LINEAR] == [41.]


def test_folders_without_records(tmp_path):
    with pytest.raises(FileNotFoundError, match='work dir .*nowhere does not exist'):
        gather([tmp_path / 'nowhere'])
    with pytest.raises(FileNotFoundError, match='no provenance.json below'):
        gather([tmp_path])


@pytest.fixture
def sections(tmp_path):
    """Two seeds of the nano model, one deviating; one row of the paper measured."""
    for seed, value in ((0, 40.), (1, 46.)):
        put(tmp_path, LINEAR, seed, value, initial=put(tmp_path, CLASSIFIER, seed, 98.))
    put(tmp_path, LINEAR, 2, 90., initial=put(tmp_path, CLASSIFIER, 2, 98.), batch=8)
    put(tmp_path, 'locatvit_linear_ade20k', 0, 33., initial=dict(source='hf://sinahmr/locatvit_base', sha256=None))
    return build_board(gather([tmp_path]))


def section(sections, head, dataset):
    found, = [one for one in sections if (one.head, one.dataset) == (head, dataset)]
    return found


def test_mean_spread_and_difference(sections):
    faithful, deviating = section(sections, 'linear', 'digitscenes').rows
    assert (faithful.mean, faithful.difference) == (43., None) and faithful.spread == pytest.approx(18**0.5)
    assert [run.seed for run in faithful.runs] == [0, 1]
    assert deviating.deviations == ('total batch 8 instead of 32', ) and deviating.spread is None
    rows = section(sections, 'linear', 'ade20k').rows
    measured, = [row for row in rows if row.runs]
    assert measured.difference == pytest.approx(33. - 32.64)
    assert len(rows) == 20 and sum(row.entry.model == 'Swin' for row in rows) == 1
    assert [row.entry.model for row in rows][:3] == ['ViT', 'LocAtViT', 'ViT + GAug']  # the paper's order, Tiny first


def test_a_deviating_run_does_not_fill_the_papers_place(tmp_path):
    hub = dict(source='hf://sinahmr/locatvit_base', sha256=None)
    put(tmp_path, 'locatvit_linear_ade20k', 0, 33., initial=hub, train_cfg__max_iters=5)
    rows = build_board(gather([tmp_path]))[0].rows
    own = [row for row in rows if row.title == 'LocAtViT, Base']
    assert [(row.mean, bool(row.deviations)) for row in own] == [(None, False), (33., True)]


def test_the_whole_paper_on_demand(tmp_path, weights):
    datasets = {one.dataset for one in build_board(gather([tmp_path]), paper=True)}
    assert datasets == {'digitscenes', 'imagenet', 'ade20k', 'pascal_context59', 'coco_stuff164k'}


def test_markdown(sections):
    text = output.to_markdown(sections)
    ade = output.section_markdown(section(sections, 'linear', 'ade20k'))
    assert '| LocAtViT, Base | 32.64 | 33.00 | +0.36 | 1 |' in ade
    assert '| ViT, Base | 28.40 |  |  |  |' in ade  # blank means not measured
    assert '| Swin, Tiny | 25.58 | not yet supported |  |  |' in ade
    digits = output.section_markdown(section(sections, 'linear', 'digitscenes'))
    assert '| LocAtViT, Nano | 43.00 ± 4.24 | 2 |' in digits and 'published' not in digits
    assert '| LocAtViT, Nano [1] | 90.00 | 1 |' in digits and '[1] total batch 8 instead of 32.' in digits
    assert 'Measured 2026-11-23 on A CPU; mmlocat 0.1 torch 2.14; commit cccccccc.' in text
    assert '**Provenance**' in text and '| locatvit-nano_linear_digitscenes |' in text


def test_csv_and_json(sections):
    rows = list(csv.DictReader(io.StringIO(output.to_csv(sections))))
    by_config = {(row['config'], row['deviations']): row for row in rows}
    assert by_config[LINEAR, '']['mean'] == '43.0' and by_config[LINEAR, '']['seeds'] == '0 1'
    assert by_config['locatvit_linear_ade20k', '']['published'] == '32.64'
    blank = next(row for row in rows if row['model'] == 'ViT' and row['size'] == 'base' and row['dataset'] == 'ade20k')
    assert blank['mean'] == blank['parameters'] == blank['images_per_second'] == ''
    assert next(row for row in rows if row['model'] == 'Swin')['status'] == 'not yet supported'
    classes = list(csv.DictReader(io.StringIO(output.class_csv(sections))))
    assert dict(config=LINEAR, seed='0', deviates='False', iou='40.0', **{'class': 'a'}) in classes
    assert dict(config=LINEAR, seed='0', deviates='False', iou='', **{'class': 'b'}) in classes
    data = json.loads(output.to_json(sections))
    run = next(row for part in data for row in part['rows'] if row['config'] == LINEAR)['runs'][0]
    assert run['test']['class_iou'] == [40., None] and run['pretraining']['config'] == CLASSIFIER
    assert run['training']['launches'][0]['versions']['torch'] == '2.14'


def test_costs_and_speed_are_of_what_was_measured(sections):
    assert all(row.macs is None and row.images_per_second is None for one in sections for row in one.rows)
    small = [one for one in sections if one.dataset == 'digitscenes']
    add_costs(small)
    add_speed(small, seconds=0.01, batch=2, device='cpu')
    row = section(sections, 'linear', 'digitscenes').rows[0]
    assert row.parameters > 200_000 and row.macs > 1e6 and row.images_per_second > 0
    assert f'{row.parameters:,}' in output.section_markdown(small[0]) + output.section_markdown(small[-1])


def test_plot(sections, tmp_path):
    draw(tmp_path / 'board.png', sections)
    picture = Image.open(tmp_path / 'board.png').convert('RGB')
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    for expected in ('d55e00', '0072b2', 'cc79a7'):  # published, measured, deviating
        assert tuple(bytes.fromhex(expected)) in colours
    with pytest.raises(ValueError, match='nothing to draw'):
        draw(tmp_path / 'none.png', [])
    assert not (tmp_path / 'none.png').exists()


def test_readme_markers(sections, tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('before\n<!-- leaderboard:digitscenes -->\nold\n<!-- /leaderboard:digitscenes -->\nafter\n'
                      '<!-- leaderboard:imagenet -->\nkept\n<!-- /leaderboard:imagenet -->\n')
    marker = 'leaderboard:digitscenes'
    texts = output.readme_texts(sections, readme, tmp_path / 'docs' / 'board.png')
    assert output.update_readme(readme, texts) == [marker]
    text = readme.read_text()
    assert text.startswith('before\n') and 'old' not in text and '\nafter\n' in text and '\nkept\n' in text
    assert '](docs/board.png)' in text and '43.00 ± 4.24' in text and 'ADE20K' not in text
    texts = output.readme_texts(sections, readme)
    assert output.update_readme(readme, texts) == [marker]  # and again
    assert readme.read_text().count('43.00 ± 4.24') == 1
    readme.write_text('nothing')
    with pytest.raises(ValueError, match='no pair of markers for .*leaderboard:digitscenes'):
        output.update_readme(readme, texts)
    assert readme.read_text() == 'nothing'


def test_command(sections, tmp_path, monkeypatch, capsys):
    readme = tmp_path / 'README.md'
    readme.write_text('<!-- leaderboard:digitscenes -->\n<!-- /leaderboard:digitscenes -->\n')
    tool = str(ROOT / 'tools' / 'benchmark' / 'leaderboard.py')
    arguments = [tool, str(tmp_path), '--out', str(tmp_path / 'out'), '--readme', str(readme)]
    monkeypatch.setattr(sys, 'argv', arguments)
    assert runpy.run_path(tool, run_name='tool')['main']() == 0
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'leaderboard.md', 'leaderboard.csv', 'leaderboard.json', 'leaderboard.png', 'class_iou.csv'}
    assert '](leaderboard.png)' in (tmp_path / 'out' / 'leaderboard.md').read_text()
    assert '](out/leaderboard.png)' in readme.read_text() and '**Provenance**' in capsys.readouterr().out
    arguments[1] = str(tmp_path / 'none')
    assert runpy.run_path(tool, run_name='tool')['main']() == 1
    assert capsys.readouterr().err.startswith('Error: work dir')
