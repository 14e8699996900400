"""Reading a config: what is found under a name, what cannot be read, and ``--cfg-options`` that would do nothing."""

import argparse

import pytest
from mmengine.config import Config

from mmlocat.config import load_config
from mmlocat.utils.arguments import add_config_arguments
from tests.conftest import ROOT

CONFIG = '''
crop_size, num_classes, batch_size, root, epochs = (32, 48), 21, 8, '/data/mine', 30
steps = [dict(type='LoadImageFromFile'), dict(type='RandomCrop', crop_size=crop_size)]
data_preprocessor = dict(size=crop_size)
model = dict(type='EncoderDecoder', data_preprocessor=data_preprocessor, test_cfg=dict(stride=8),
             decode_head=dict(num_classes=num_classes), auxiliary_head=dict(num_classes=num_classes, in_channels=21))
train_dataloader = dict(batch_size=batch_size, num_workers=8, dataset=dict(data_root=root, pipeline=steps))
val_dataloader = dict(batch_size=1, dataset=dict(data_root=root, pipeline=steps[:1]))
train_cfg = dict(max_epochs=2 * epochs)
checkpoint = None
'''
CROP = 'train_dataloader.dataset.pipeline.1.crop_size'


@pytest.fixture
def path(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(CONFIG)
    return str(file)


@pytest.mark.parametrize(('key', 'value', 'keys'), [
    ('crop_size', (16, 16), ['model.data_preprocessor.size', CROP]),
    ('num_classes', 5, ['model.decode_head.num_classes', 'model.auxiliary_head.num_classes']),
    ('batch_size', 2, ['train_dataloader.batch_size']),
    ('root', '/other', ['train_dataloader.dataset.data_root', 'val_dataloader.dataset.data_root']),
    ('steps.1.crop_size', (8, 8), [CROP]),
    ('data_preprocessor.size', (8, 8), ['model.data_preprocessor.size']),
])
def test_the_keys_that_have_an_effect_are_named(key, value, keys, path):
    with pytest.raises(ValueError) as error:
        load_config(path, {key: value})
    assert f'--cfg-options {key}={value} would change nothing: {key.split(".")[0]} is a variable' in str(error.value)
    assert f'change {", ".join(keys)} instead' in str(error.value)
    changed = load_config(path, dict.fromkeys(keys, value))
    for name in keys:
        node = changed
        for part in name.split('.'):
            node = node[int(part) if part.isdigit() else part]
        assert node == value


def test_a_variable_that_was_computed_with(path):
    with pytest.raises(ValueError, match='epochs is a variable.*write epochs = ... into a copy of the config'):
        load_config(path, {'epochs': 3})


def test_what_is_read_when_the_job_runs_is_taken(path):
    changes = {'checkpoint': 'a.pth', 'train_dataloader.batch_size': 3, 'load_from': 'b.pth', 'checks.data': False}
    config = load_config(path, changes)
    assert config.checkpoint == 'a.pth' and config.train_dataloader.batch_size == 3 and not config.checks.data
    # A data_preprocessor beside a model that has none is the Runner's.
    classifier = str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')
    assert load_config(classifier, {'data_preprocessor.num_classes': 7}).data_preprocessor.num_classes == 7


def test_a_shipped_config():
    with pytest.raises(ValueError, match='change model.data_preprocessor.size, train_dataloader.*crop_size instead'):
        load_config(str(ROOT / 'configs' / 'vit_linear_ade20k.py'), {'crop_size': (256, 256)})


@pytest.mark.parametrize(('value', 'message'), [
    ("dict(type='X',class_weight=[1.,2.])", 'a value is no number, word, list or tuple'),
    ('[1.,(2,]', 'Imbalanced brackets')])
def test_a_value_that_mmengine_cannot_read_is_one_line(value, message, capsys):
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['x.py', '--cfg-options', f'model.head.loss={value}'])
    said = capsys.readouterr().err
    assert message in said and 'as in model.head.loss.type=' in said


def test_a_config_that_does_not_exist_lists_near_matches(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'did you mean .*locatvit_upernet_ade20k.py'):
        load_config('configs/locatvit_upernet_ade.py')
    (tmp_path / 'my_model.py').write_text('a = 1')
    with pytest.raises(FileNotFoundError, match=r'did you mean .*my_model.py'):
        load_config(str(tmp_path / 'my_mdel.py'))
    with pytest.raises(FileNotFoundError, match='configs lie in'):
        load_config('zzz.py')


def test_a_shipped_config_needs_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_config('locatvit-nano_digitscenes')
    assert found.filename == str(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')
    (tmp_path / 'locatvit-nano_digitscenes').mkdir()  # a work dir, say
    assert load_config('locatvit-nano_digitscenes').filename == found.filename
    for name in ('../configs/locatvit-nano_digitscenes', 'locatvit-nano_digitscene'):
        with pytest.raises(FileNotFoundError, match='locatvit-nano_digitscenes.py'):
            load_config(name)


def test_a_config_that_is_not_python_says_so(tmp_path):
    (tmp_path / 'part.py').write_text('a = 1')
    with pytest.raises(ValueError, match='part.py has no model; is it a part'):
        load_config(str(tmp_path / 'part.py'))
    (tmp_path / 'broken.py').write_text('a = (1')
    with pytest.raises(ValueError, match='broken.py cannot be read'):
        load_config(str(tmp_path / 'broken.py'))


def test_options_are_checked_against_the_config():
    path = str(ROOT / 'configs' / 'vit-nano_linear_digitscenes.py')
    with pytest.raises(ValueError, match='chekpoint=x: chekpoint is no key of .*; did you mean checkpoint'):
        load_config(path, {'chekpoint': 'x'})
    with pytest.raises(ValueError, match='param_scheduler.total_steps=8 does not fit the config'):
        load_config(path, {'param_scheduler.total_steps': 8})


def test_no_two_runners_of_a_process_share_a_visualizer():
    """By its name MMEngine would give the second that of the first, which writes into the first one's folder."""
    runtimes = [Config.fromfile(path) for path in (ROOT / 'configs' / '_base_').glob('runtime_*.py')]
    assert len(runtimes) == 3 and not [config for config in runtimes if 'name' in config.visualizer]
