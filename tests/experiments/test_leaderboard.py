"""From records to tables: deviations, tracing of weights, mean and spread, and what is written."""

import json
import runpy
import sys

import pytest
from PIL import Image

from mmlocat.experiments.leaderboard import output
from mmlocat.experiments.leaderboard.board import add_costs, build_board
from mmlocat.experiments.leaderboard.runs import gather, recipe
from mmlocat.training.provenance import config_hash
from tests.conftest import ROOT
from tests.helpers.records import put

LINEAR, CLASSIFIER = 'locatvit-nano_linear_digitscenes', 'locatvit-nano_digitscenes'


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
    (dict(train_cfg__max_iters=5), 'train_cfg.max_iters = 5 (recipe: 800)'),
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


def test_dino_s_teacher_is_traced_to_its_pretraining(tmp_path):
    dino = put(tmp_path, 'vit-small_dino_imagenet', 0, 0., folders=(tmp_path / 'dino', tmp_path / 'no test'))
    (tmp_path / 'no test' / 'provenance.json').unlink()
    leaves = ['vit-small_dino-knn_imagenet', 'vit-small_dino-linear_imagenet']
    put(tmp_path, leaves[0], 0, 70., training=False, tested=dino)
    best = dict(source='best.pth', sha256='best')
    put(tmp_path, leaves[1], 0, 75., initial=dino, best=best, tested=best)
    runs = {run.leaf.name: run for run in gather([tmp_path])}
    assert [(runs[leaf].value, runs[leaf].deviations) for leaf in leaves] == [(70., []), (75., [])]
    assert runs[leaves[0]].training.leaf.name == runs[leaves[1]].pretraining.leaf.name == 'vit-small_dino_imagenet'
    other = put(tmp_path / 'b', CLASSIFIER, 0, 98.)
    put(tmp_path / 'b', leaves[0], 0, 70., training=False, tested=other)
    assert deviations(tmp_path / 'b', leaves[0]) == [f'trained with {CLASSIFIER}.py']


def test_the_epoch_is_the_recipes(tmp_path):
    best = dict(source='best.pth', sha256='best')
    put(tmp_path, CLASSIFIER, 0, 98., best=best, tested=best)
    assert deviations(tmp_path, CLASSIFIER) == ['tests its best epoch instead of its last']
    put(tmp_path / 'b', 'vit-small_dino-linear_imagenet', 0, 75., initial=best, best=best)
    assert 'tests its last epoch instead of its best' in deviations(tmp_path / 'b', 'vit-small_dino-linear_imagenet')


def test_other_pretraining_is_named(tmp_path):
    other = put(tmp_path, 'vit-nano_digitscenes', 0, 98.)
    put(tmp_path, LINEAR, 0, 40., initial=other)
    assert deviations(tmp_path) == [f'starts from the result of vit-nano_digitscenes.py instead of {CLASSIFIER}.py']
    shorter = put(tmp_path / 'b', CLASSIFIER, 0, 98., train_cfg__max_epochs=1)
    put(tmp_path / 'b', LINEAR, 0, 40., initial=shorter)
    assert deviations(tmp_path / 'b') == ['pretraining: train_cfg.max_epochs = 1 (recipe: 5)']


@pytest.mark.parametrize('head', ['knn', 'hummingbird'])
def test_what_trains_nothing_is_judged_by_the_training_of_its_weights(head, tmp_path, weights):
    leaf = f'locatvit-nano_{head}_digitscenes'
    put(tmp_path, leaf, 0, 40., tested=weights, training=False)
    run, = [run for run in gather([tmp_path]) if run.leaf.name == leaf]
    assert run.deviations == [] and run.value == 40. and run.training.leaf.name == CLASSIFIER
    other = put(tmp_path / 'b', 'vit-nano_digitscenes', 0, 90.)
    put(tmp_path / 'b', leaf, 0, 40., tested=other, training=False)
    assert deviations(tmp_path / 'b', leaf) == ['trained with vit-nano_digitscenes.py']


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
def board(tmp_path):
    """Two seeds of the nano model, one deviating; one row of the paper measured."""
    for seed, value in ((0, 40.), (1, 46.)):
        put(tmp_path, LINEAR, seed, value, initial=put(tmp_path, CLASSIFIER, seed, 98.))
    put(tmp_path, LINEAR, 2, 90., initial=put(tmp_path, CLASSIFIER, 2, 98.), batch=8)
    put(tmp_path, 'locatvit_linear_ade20k', 0, 33., initial=dict(source='hf://sinahmr/locatvit_base', sha256=None))
    return build_board(gather([tmp_path]))


def section(board, head, dataset):
    return [row for row in board if (row.entry.head, row.entry.dataset) == (head, dataset)]


def test_mean_spread_and_order(board):
    faithful, deviating = section(board, 'linear', 'digitscenes')
    assert (faithful.mean, faithful.published) == (43., None) and faithful.spread == pytest.approx(18**0.5)
    assert [run.seed for run in faithful.runs] == [0, 1]
    assert deviating.deviations == ('total batch 8 instead of 32', ) and deviating.spread is None
    rows = section(board, 'linear', 'ade20k')
    measured, = [row for row in rows if row.runs]
    assert (measured.mean, measured.published) == (33., 32.64)
    assert len(rows) == 30 and sum(row.entry.model == 'Swin' for row in rows) == 2
    assert [row.entry.model for row in rows][:3] == ['ViT', 'LocAtViT', 'ViT + GAug']  # the paper's order, Tiny first


def test_a_deviating_run_does_not_fill_the_papers_place(tmp_path):
    hub = dict(source='hf://sinahmr/locatvit_base', sha256=None)
    put(tmp_path, 'locatvit_linear_ade20k', 0, 33., initial=hub, train_cfg__max_iters=5)
    own = [row for row in build_board(gather([tmp_path])) if row.title == 'LocAtViT, Base']
    assert [(row.mean, bool(row.deviations)) for row in own] == [(None, False), (33., True)]


def test_the_whole_paper_on_demand(tmp_path, weights):
    datasets = {row.entry.dataset for row in build_board(gather([tmp_path]), paper=True)}
    assert datasets == {'digitscenes', 'imagenet', 'ade20k', 'pascal_context59', 'coco_stuff164k', 'mini-imagenet',
                        'voc2012'}
    text = output.to_markdown(build_board(gather([tmp_path]), paper=True), by_row=False)
    for title in ('Mini-ImageNet, classifier', 'ADE20K, dense retrieval, published protocol',
                  'ImageNet-1K, k-NN of DINO pretraining', 'ImageNet-1K, linear probe of DINO pretraining'):
        assert f'**{title}**' in text
    assert '| LocAtSwin, Base |' in text and '| LocAtJumbo, Tiny |' in text and '| LocAtViT + RoPE, Base |' in text


def test_what_gap_means_is_not_known_and_the_board_says_so(board):
    ade = output.section_markdown(section(board, 'linear', 'ade20k'))
    assert '| ViT + GAP, Tiny * | 19.65 |' in ade and '| ViT + GAP, Base * | 27.99 |' in ade
    assert ade.count('\\* ViT + GAP: which model the paper means is not known') == 1 and ade.count(' * |') == 2
    assert '*' not in output.section_markdown(section(board, 'linear', 'digitscenes'))


def test_published_weights_that_are_tested_alone_are_no_deviation(tmp_path):
    leaf, hub = 'locatvit-tiny_hummingbird_ade20k', 'hf://sinahmr/locatvit_tiny'
    settings = recipe(leaf)[0]
    digest = config_hash(settings)
    for source in (hub, 'mine.pth', 'hf://sinahmr/locatvit_base'):
        test = dict(leaf=leaf, config=digest, tta=False, metrics=dict(mIoU=30.), date='2026-11-23T10:00:00+00:00',
                    checkpoint=dict(source=source, sha256=None))
        (tmp_path / 'provenance.json').write_text(json.dumps(dict(
            version=1, configs={digest: settings}, launches=[], tests=[test])))
        run = only(tmp_path)
        assert run.value == 30. and bool(run.deviations) == (source != hub)


def test_markdown(board):
    text = output.to_markdown(board)
    ade = output.section_markdown(section(board, 'linear', 'ade20k'))
    assert '| LocAtViT, Base | 32.64 | 33.00 | +0.36 | 1 |' in ade
    assert '| ViT, Base | 28.40 |  |  |  |' in ade  # blank means not measured
    assert '| Swin, Tiny | 25.58 |  |  |  |' in ade
    digits = output.section_markdown(section(board, 'linear', 'digitscenes'))
    assert '| LocAtViT, Nano | 43.00 ± 4.24 | 2 |' in digits and 'published' not in digits
    assert '| LocAtViT, Nano [1] | 90.00 | 1 |' in digits and '[1] total batch 8 instead of 32.' in digits
    measured = 'Measured 2026-11-23 on A CPU; mmlocat 0.1 torch 2.14; commit cccccccc.'
    assert f'{measured}\n\n**Provenance**' in text
    assert '- locatvit-nano_linear_digitscenes, seeds 0, 1, SHA-256 of the checkpoints ' in text


def test_json(board):
    rows = json.loads(output.to_json(board))
    row = next(row for row in rows if row['config'] == LINEAR)
    run = row['runs'][0]
    assert (row['mean'], row['published'], row['entry']['dataset'], run['seed']) == (43., None, 'digitscenes', 0)
    assert run['test']['class_iou'] == [40., None] and run['pretraining']['leaf']['name'] == CLASSIFIER
    assert run['training']['launches'][0]['versions']['torch'] == '2.14'
    blank = next(row for row in rows if row['entry'] == dict(model='ViT', size='base', head='linear', dataset='ade20k'))
    assert blank['mean'] is None and blank['runs'] == [] and blank['published'] == 28.4


def test_costs_are_of_what_was_measured(board):
    add_costs(section(board, 'linear', 'digitscenes'))
    row = section(board, 'linear', 'digitscenes')[0]
    assert row.parameters > 200_000 and row.macs > 1e6
    assert f'{row.parameters:,}' in output.section_markdown([row])
    assert all(row.macs is None for row in section(board, 'linear', 'ade20k'))


def test_costs_of_a_model_that_was_tested_by_augmentation_are_its_own(tmp_path, weights):
    for tta in (False, True):
        put(tmp_path, LINEAR, 0, 40., initial=weights, tta=tta)
    rows = section(build_board(gather([tmp_path])), 'linear', 'digitscenes')
    assert [row.deviations for row in rows] == [(), ('test-time augmentation', )]
    assert rows[1].runs[0].config['model']['type'] == 'SegTTAModel'
    add_costs(rows)
    assert rows[1].macs == rows[0].macs > 1e6 and rows[1].parameters == rows[0].parameters


def test_plot(board, tmp_path):
    output.draw(tmp_path / 'board.png', board)
    picture = Image.open(tmp_path / 'board.png').convert('RGB')
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    for expected in ('d55e00', '0072b2', 'cc79a7'):  # published, measured, deviating
        assert tuple(bytes.fromhex(expected)) in colours
    with pytest.raises(ValueError, match='nothing to draw'):
        output.draw(tmp_path / 'none.png', [])
    assert not (tmp_path / 'none.png').exists()


def test_readme_markers(board, tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('before\n<!-- leaderboard:digitscenes -->\nold\n<!-- /leaderboard:digitscenes -->\nafter\n'
                      '<!-- leaderboard:imagenet -->\nkept\n<!-- /leaderboard:imagenet -->\n')
    marker = 'leaderboard:digitscenes'
    texts = output.readme_texts(board, readme, tmp_path / 'docs' / 'board.png')
    assert output.update_readme(readme, texts) == [marker]
    text = readme.read_text()
    assert text.startswith('before\n') and 'old' not in text and '\nafter\n' in text and '\nkept\n' in text
    assert '](docs/board.png)' in text and '43.00 ± 4.24' in text and 'ADE20K' not in text
    texts = output.readme_texts(board, readme)
    assert output.update_readme(readme, texts) == [marker]  # and again
    assert readme.read_text().count('43.00 ± 4.24') == 1
    readme.write_text('nothing')
    with pytest.raises(ValueError, match='no pair of markers for .*leaderboard:digitscenes'):
        output.update_readme(readme, texts)
    assert readme.read_text() == 'nothing'


def test_command(board, tmp_path, monkeypatch, capsys):
    readme = tmp_path / 'README.md'
    readme.write_text('<!-- leaderboard:digitscenes -->\n<!-- /leaderboard:digitscenes -->\n')
    tool = str(ROOT / 'tools' / 'benchmark' / 'leaderboard.py')
    arguments = [tool, str(tmp_path), '--out', str(tmp_path / 'out'), '--readme', str(readme)]
    monkeypatch.setattr(sys, 'argv', arguments)
    assert runpy.run_path(tool, run_name='tool')['main']() == 0
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'leaderboard.md', 'leaderboard.json', 'leaderboard.png'}
    assert '](leaderboard.png)' in (tmp_path / 'out' / 'leaderboard.md').read_text()
    assert '](out/leaderboard.png)' in readme.read_text() and '**Provenance**' in capsys.readouterr().out
    arguments[1] = str(tmp_path / 'none')
    assert runpy.run_path(tool, run_name='tool')['main']() == 1
    assert capsys.readouterr().err.startswith('Error: work dir')
