"""Suites as files: what a row may hold, errors that name row and key, and what is shipped."""

import hashlib
import json

import pytest

from mmlocat import __version__
from mmlocat.config import load_config
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.experiments.leaderboard.names import parse, published
from mmlocat.experiments.leaderboard.runs import recipe
from mmlocat.experiments.suite.plan import plan_suite
from mmlocat.experiments.suite.rows import load_suite
from mmlocat.training.provenance import canonical_config
from tests.conftest import ROOT

LEAVES = [path.name for path in (ROOT / 'configs').glob('*.py')]


def load(tmp_path, text):
    path = tmp_path / 'mine.yml'
    path.write_text(text)
    return load_suite(path)


def test_rows(tmp_path):
    (tmp_path / 'w.pth').touch()
    suite = load(tmp_path, f'''
rows:
  - config: vit-nano_digitscenes.py
    seeds: [3, 4]
    cfg-options: {{train_cfg.max_epochs: 1, "model.backbone.out_indices": [1, 2]}}
  - config: vit-nano_linear_digitscenes
    seeds: [4]
    checkpoint: vit-nano_digitscenes
    train-args: [--no-validate]
  - {{config: vit-nano_linear_digitscenes.py, name: other, checkpoint: {tmp_path / "w.pth"}}}
  - {{config: locatvit_linear_ade20k.py, checkpoint: 'hf://a/b'}}
''')
    first, second, third, fourth = suite.rows
    assert suite.name == 'mine' and first.name == 'vit-nano_digitscenes' and first.seeds == (3, 4)
    assert first.options == {'train_cfg.max_epochs': 1, 'model.backbone.out_indices': [1, 2]}
    command = next(trial for trial in plan_suite(suite, tmp_path) if trial.seed == 3).train.command
    assert {'randomness.seed=3', 'train_cfg.max_epochs=1', 'model.backbone.out_indices=[1,2]'} < set(command)
    assert (second.parent, second.checkpoint, second.train_args) == ('vit-nano_digitscenes', None, ('--no-validate', ))
    assert (third.name, third.seeds, third.checkpoint) == ('other', (0, ), str(tmp_path / 'w.pth'))
    assert [row.title for row in suite.rows] == ['ViT', 'ViT', 'ViT', 'LocAtViT'] and first.processes is None
    assert fourth.checkpoint == 'hf://a/b' and fourth.config == ROOT / 'configs' / 'locatvit_linear_ade20k.py'


def test_select_takes_along_what_a_row_starts_from(tmp_path):
    suite = load_suite('digitscenes').select(['vit/l*'])
    assert [row.name for row in suite.rows] == ['vit/pretrain', 'vit/linear']
    with pytest.raises(ValueError, match=r'--rows nothing\* fits no row; the suite has vit/pretrain'):
        suite.select(['nothing*'])


BASE = '- {config: vit-nano_digitscenes.py, seeds: [0, 1]}\n  - config: vit-nano_linear_digitscenes.py\n    '


@pytest.mark.parametrize(('rows', 'message'), [
    ('- seeds: [0]', r'row 1: a row is a mapping with the key config'),
    ('- just text', r'row 1: a row is a mapping with the key config'),
    (BASE + 'seed: [0]', r'row 2 \(vit-nano_linear_digitscenes.py\), seed: unknown key; did you mean seeds'),
    (BASE + 'seeds: 5', r'row 2 .*, seeds: expected different whole numbers .* got 5'),
    (BASE + 'seeds: [1, 1]', r'row 2 .*, seeds: expected'),
    (BASE + 'seeds: [true]', r'row 2 .*, seeds: expected'),
    (BASE + 'checkpoint: vit-nano_digitscene\n    seeds: [0]',
     r'row 2 .*, checkpoint: vit-nano_digitscene is neither an earlier row nor a file; did you mean vit-nano_digit'),
    (BASE + 'checkpoint: 3', r'row 2 .*, checkpoint: expected the name of an earlier row'),
    (BASE + 'checkpoint: vit-nano_digitscenes\n    seeds: [7]', r'row 2 .*, seeds: .* seeds \[0, 1\] and not \[7\]'),
    (BASE + 'cfg-options: [a=1]', r'row 2 .*, cfg-options: expected a mapping'),
    (BASE + 'cfg-options: {model: {a: 1}}', r'row 2 .*, cfg-options: model holds a mapping; write its keys with dots'),
    (BASE + 'cfg-options: {randomness.seed: 1}', r'row 2 .*, cfg-options: randomness.seed has a key of its own, seeds'),
    (BASE + 'train-args: --amp', r'row 2 .*, train-args: expected a list of texts'),
    (BASE + 'name: ../b', r'row 2 .*, name: expected a folder'),
    (BASE + 'name: a_test', r'row 2 .*, name: expected a folder'),
    (BASE + 'name: vit-nano_digitscenes/head', r'row 2 .*, name: vit-nano_digitscenes/head is taken'),
    (BASE + 'processes: 0', r'row 2 .*, processes: expected a positive whole number, got 0'),
    (BASE + 'name: vit-nano_digitscenes', r'row 2 .*, name: vit-nano_digitscenes is taken'),
    ('- config: [a, b]', r'row 1 .*, config: expected the name of a config'),
])
def test_errors_name_row_and_key(rows, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tmp_path, f'rows:\n  {rows}\n')


@pytest.mark.parametrize('text', ['rows: 3', '[]', 'rows: []', 'a: 1', 'rows: [{config: x}]\nmore: 1'])
def test_files_that_are_no_suites(text, tmp_path):
    with pytest.raises(ValueError, match='must hold rows: a list of rows'):
        load(tmp_path, text)


def test_seeds_and_comparison_of_a_whole_suite(tmp_path):
    text = """
seeds: [3, 4]
compare: [a, b]
rows:
  - {config: vit-nano_digitscenes.py, name: a}
  - {config: vit-nano-long_digitscenes.py, name: b, title: Longer, seeds: [3]}
"""
    suite = load(tmp_path, text)
    assert [row.seeds for row in suite.rows] == [(3, 4), (3, )] and suite.compare == ('a', 'b')
    assert [row.title for row in suite.rows] == ['ViT', 'Longer']
    assert [row.seeds for row in load_suite(tmp_path / 'mine.yml', [7]).rows] == [(7, ), (3, )]
    with pytest.raises(ValueError, match=r"compare: expected the names of two rows, got \['a', 'c'\]"):
        load(tmp_path, text.replace('[a, b]', '[a, c]'))


def test_a_comparison_of_each_data_set_and_a_rule_of_pictures(tmp_path):
    text = '''
datasets: [digitscenes, stampscenes]
compare: [DATASET/a, DATASET/b]
picture: %s
rows:
  - {config: vit-nano_DATASET.py, name: DATASET/a}
  - {config: vit-nano-long_DATASET.py, name: DATASET/b}
'''
    suite = load(tmp_path, text % 'quantiles')
    assert suite.pairs == [('digitscenes/a', 'digitscenes/b'), ('stampscenes/a', 'stampscenes/b')]
    assert suite.picture == 'quantiles' and load_suite('demo').picture == 'first'
    with pytest.raises(ValueError, match="picture: expected one of first, quantiles, got 'best'"):
        load(tmp_path, text % 'best')


def test_what_a_test_measures_trains_nothing_anew(tmp_path):
    def jobs(**options):
        row = dict(config='vit-nano_linear_digitscenes.py', checkpoint='hf://a/b')
        row['cfg-options'] = {key.replace('__', '.'): value for key, value in options.items()}
        trial, = plan_suite(load(tmp_path, json.dumps(dict(rows=[row]))), tmp_path)
        return trial.train, trial.test

    (train, test), scores = jobs(), ['mIoU', 'mDice']
    assert jobs(val_evaluator__iou_metrics=scores)[0].fingerprint == train.fingerprint
    more = jobs(test_evaluator__iou_metrics=scores)
    assert more[0].fingerprint == train.fingerprint and more[1].fingerprint != test.fingerprint
    assert jobs(train_cfg__max_iters=9)[1].fingerprint != test.fingerprint
    best = {'default_hooks__checkpoint__save_best': 'mIoU'}  # chosen by the validation
    assert jobs(**best)[0].fingerprint != jobs(**best, val_evaluator__iou_metrics=scores)[0].fingerprint
    # What was done while the whole config counted stays done.
    config = load_config(str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py'))
    parts = [__version__, 'vit-nano_linear_digitscenes.py', '0', json.dumps(canonical_config(config), sort_keys=True),
             'hf://a/b', json.dumps(DigitScenesSpec().describe())]
    earlier = hashlib.sha256('\n'.join(parts).encode()).hexdigest()
    for job, fingerprint in ((train, earlier), (test, hashlib.sha256(f'{earlier} test'.encode()).hexdigest())):
        job.folder.mkdir(parents=True)
        (job.folder / job.product).touch()
        (job.folder / 'job.json').write_text(json.dumps(dict(fingerprint=fingerprint, seconds=1)))
        assert job.done and not more[1].done


def test_files_that_are_missing_or_no_yaml(tmp_path):
    with pytest.raises(FileNotFoundError, match='suite nothing.yml does not exist; mmlocat ships demo, digits'):
        load_suite('nothing.yml')
    with pytest.raises(ValueError, match='is not YAML'):
        load(tmp_path, 'rows: [')


def test_configs_and_options_that_do_not_fit_name_the_row(tmp_path):
    suite = load(tmp_path, 'rows:\n  - config: vit_lineer_ade20k.py\n')
    with pytest.raises(FileNotFoundError, match='row vit_lineer_ade20k: .*did you mean .*vit_linear_ade20k'):
        plan_suite(suite, tmp_path)
    suite = load(tmp_path, 'rows:\n  - {config: vit-nano_digitscenes.py, cfg-options: {modell.a: 1}}\n')
    with pytest.raises(ValueError, match='row vit-nano_digitscenes: --cfg-options modell.a=1.*did you mean model'):
        plan_suite(suite, tmp_path)
    suite = load(tmp_path, 'rows:\n  - {config: vit-nano_linear_digitscenes.py}\n')
    with pytest.raises(ValueError, match='row vit-nano_linear.*total batch of 32 cannot be shared out evenly among 3'):
        plan_suite(suite, tmp_path, gpus=3)


def test_a_row_that_trains_nothing_tests_the_weights_of_another(tmp_path):
    rows = 'rows:\n  - {config: vit-nano_digitscenes.py}\n  - {config: vit-nano_knn_digitscenes.py, checkpoint: %s}\n'
    pretraining, knn = plan_suite(load(tmp_path, rows % 'vit-nano_digitscenes'), tmp_path)
    assert knn.train is None and knn.jobs == [knn.test] and knn.test.after is pretraining.train
    assert str(pretraining.train.folder / 'epoch_5.pth') in knn.test.command
    weights = tmp_path / 'mine.pth'
    weights.touch()
    _, knn = plan_suite(load(tmp_path, rows % weights), tmp_path)
    assert knn.test.after is None and str(weights) in knn.test.command
    with pytest.raises(ValueError, match='row vit-nano_knn_digitscenes: its config only tests; give it a checkpoint'):
        plan_suite(load(tmp_path, (rows % '').replace(', checkpoint: ', '')), tmp_path)


def test_every_arm_of_the_variants_has_the_same_rows(tmp_path):
    trials = plan_suite(load_suite('digitscenes-variants'), tmp_path)
    arms = {trial.row.name.split('/')[0] for trial in trials}
    assert len(trials) == 10 * 4 * 3 and len(arms) == 10
    for trial in trials:
        leaf = parse(trial.row.config.name)
        assert leaf.pretraining == (trial.parent.row.config.stem if trial.parent else None)
        assert trial.parent is None or trial.parent.row.name == f'{trial.row.name.split("/")[0]}/pretrain'
        assert trial.seed == (trial.parent or trial).seed


def test_the_shipped_suite_of_digitscenes(tmp_path):
    trials = plan_suite(load_suite('digitscenes'), tmp_path)
    assert len(trials) == 60 and [trial.seed for trial in trials] == sorted([0, 1, 2, 3, 4] * 12)  # first seeds first
    heads = [trial for trial in trials if trial.row.parent]
    assert {trial.row.name for trial in heads} == {
        f'{arm}/linear' for arm in ('vit', 'locatvit', 'gaug', 'prr', 'vit-long')}
    for head in heads:
        pretraining = head.parent
        epochs = 8 if head.row.name == 'vit-long/linear' else 5
        assert f'checkpoint={pretraining.train.folder}/epoch_{epochs}.pth' in head.train.command
        assert head.train.after is pretraining.train and trials.index(pretraining) < trials.index(head)
        assert f'randomness.seed={head.seed}' in head.train.command and head.row.options == {}
        assert head.seed == pretraining.seed
        assert str(head.train.folder / 'iter_800.pth') in head.test.command
        if epochs == 5:  # the control is no recipe: its head's leaf asks for other weights
            assert parse(head.row.config.name).pretraining == pretraining.row.config.stem


def test_the_shipped_suite_of_dino(tmp_path):
    """DINO is trained alone, k-NN tested alone, the linear probe both."""
    suite = load_suite('dino')
    assert {row.name for row in suite.rows} == {name[:-3] for name in LEAVES if '-small_dino' in name}
    trials = {trial.row.name: trial for trial in plan_suite(suite, tmp_path, gpus=8)}
    for arch in ('vit-small', 'locatvit-small'):
        dino, knn, linear = (trials[f'{arch}_{head}_imagenet'] for head in ('dino', 'dino-knn', 'dino-linear'))
        teacher = str(dino.train.folder / 'epoch_100.pth')
        assert dino.test is None and knn.train is None and dino.jobs == [dino.train] and knn.jobs == [knn.test]
        assert teacher in knn.test.command and f'checkpoint={teacher}' in linear.train.command
        assert knn.test.after is linear.train.after is dino.train and linear.test.after is linear.train
        assert parse(knn.row.name).pretraining == parse(linear.row.name).pretraining == dino.row.name
        assert str(linear.train.folder / 'best_*.pth') in linear.test.command  # the best epoch is reported
        assert not any(part.startswith('train_dataloader.batch_size') for trial in (dino, linear)
                       for part in trial.train.command)  # 8 GPUs are the recipes'


def test_rows_that_test_alone_need_a_checkpoint_that_is_trained(tmp_path):
    knn = '{config: vit-nano_dino-knn_digitscenes.py'
    suite = load(tmp_path, f'rows:\n  - {knn}, checkpoint: "hf://a/b"}}\n')
    (job, ), = (trial.jobs for trial in plan_suite(suite, tmp_path))
    assert 'hf://a/b' in job.command and job.after is None
    with pytest.raises(ValueError, match='row vit-nano_dino-knn_digitscenes: its config only tests; give it a checkp'):
        plan_suite(load(tmp_path, f'rows:\n  - {knn}}}\n'), tmp_path)
    with pytest.raises(ValueError, match='row b: checkpoint names a, which trains nothing; name the row that it tests'):
        plan_suite(load(tmp_path, f'rows:\n  - {knn}, name: a, checkpoint: "hf://a/b"}}\n'
                                  f'  - {knn}, name: b, checkpoint: a}}\n'), tmp_path)


def test_the_shipped_suites_hold_the_papers_table():
    suites = {name: load_suite(name).rows for name in ('paper', 'swin', 'rope', 'jumbo', 'retrieval')}
    rows = [row for name, own in suites.items() for row in own if name != 'retrieval']
    wanted = {name[:-3] for name in LEAVES if parse(name).entry in published() and '_dino' not in name}
    retrieval = {name for name in wanted if parse(name).head == 'hummingbird'}
    assert {row.name for row in rows} == wanted - retrieval and len({row.name for row in rows}) == len(rows) >= 4
    assert retrieval <= {row.name for row in suites['retrieval']}
    for row in rows:
        leaf = parse(row.name)
        if leaf.head:  # it starts from published weights, or from its own pretraining in this suite
            assert row.parent == (None if recipe(row.name)[1] else leaf.pretraining)


def test_the_suite_of_retrieval_tests_what_other_suites_train():
    """With their --work-dir nothing is trained again, for name, seed and config are theirs."""
    rows = {row.name: row for row in load_suite('retrieval').rows}
    trained = {row.name: row for name in ('paper', 'swin', 'rope', 'jumbo') for row in load_suite(name).rows}
    for name, row in rows.items():
        leaf = parse(name)
        if not leaf.head:
            assert row == trained[name]
        elif row.parent:
            assert row.parent == leaf.pretraining
        else:
            assert row.checkpoint == recipe(f'{leaf.arch}_linear_ade20k')[1] is not None
    assert {parse(name).head for name in rows} == {'', 'hummingbird', 'knn'}
    assert {row.parent for row in rows.values()} - {None} == {name for name in rows if not parse(name).head}
