"""``--cfg-options`` on a variable that a config has copied: refused with the keys that hold what it held."""

import argparse

import pytest

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
