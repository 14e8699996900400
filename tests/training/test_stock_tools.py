"""The training and test tools of MMSegmentation and MMPretrain, as they are installed, with ``CheckedRunner``."""

import importlib
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.helpers.interrupted import (
    CLASSIFIER,
    SEGMENTOR,
    finish,
    largest_difference,
    said,
    scalars,
    start,
    wait_for,
    write_checked_config,
)


def stock_tool(library, name):
    """Returns the path of a tool that a library ships."""
    path = Path(importlib.import_module(library).__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not path.is_file():
        pytest.skip(f'this build of {library} ships no tools/{name}.py')
    return path


# A library, a config and its length, and what its log says when it is in the middle.
MMSEG = ('mmseg', SEGMENTOR, dict(length=6, save=2, validate=3), 'Iter(train) [3/6]')
MMPRETRAIN = ('mmpretrain', CLASSIFIER, dict(length=2, save=1, validate=1), 'Epoch(train) [2][ 2/10]')


def train(library, config, work_dir, *arguments):
    # MMPretrain's tool turns both on by itself.
    plain = ['--no-persistent-workers', '--no-pin-memory'] if library == 'mmpretrain' else []
    return start(config, work_dir, *arguments, *plain, tool=stock_tool(library, 'train'))


def stop_and_resume(case, number, data_root, folder):
    """Trains as a whole, and in two parts with a signal in between; returns both work dirs and what the first said."""
    library, template, lengths, middle = case
    config = write_checked_config(folder, template, data_root, **lengths)
    whole, parts = folder / 'whole', folder / 'parts'
    finish(whole, train(library, config, whole))
    process = train(library, config, parts)
    wait_for(lambda: middle in said(parts, process), process)
    os.kill(process.pid, number)
    text = finish(parts, process, -number if number == signal.SIGKILL else 128 + number)
    finish(parts, train(library, config, parts, '--resume'))
    assert largest_difference(parts, whole) == 0 and scalars(parts) == scalars(whole)
    return whole, parts, text


def test_a_training_of_mmseg_is_stopped_and_goes_on(digit_scenes, tmp_path):
    whole, parts, text = stop_and_resume(MMSEG, signal.SIGTERM, digit_scenes, tmp_path)
    assert text.rstrip().endswith('The same command with --resume goes on from there.') and 'Traceback' not in text
    assert "mmlocat: Total batch 4 (1 x 4) is not the recipe's 32." in text
    first, second = json.loads((parts / 'provenance.json').read_text())['launches']
    assert first['leaf'] == 'checked_segmentor' and first['options'] == {} and first['finished'] is None
    assert second['first_iteration'] >= 3 and second['finished']['iteration'] == 6
    assert second['resumed_from']['source'] == str(parts / 'interrupted.pth')


@pytest.mark.soak
def test_a_training_of_mmseg_is_killed_and_goes_on(digit_scenes, tmp_path):
    stop_and_resume(MMSEG, signal.SIGKILL, digit_scenes, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_training_of_mmpretrain_goes_on_and_is_tested(number, digit_scenes, tmp_path):
    """In the middle of an epoch, or from the end of the one before."""
    whole, parts, _ = stop_and_resume(MMPRETRAIN, number, digit_scenes, tmp_path)
    checkpoint = parts / 'epoch_2.pth'
    out = tmp_path / 'metrics.json'
    tested = start(tmp_path / 'checked_classifier.py', parts, checkpoint, '--out', out, '--out-item', 'metrics',
                   '--no-pin-memory', tool=stock_tool('mmpretrain', 'test'))
    finish(parts, tested)
    metrics = json.loads(out.read_text())
    test, = json.loads((parts / 'provenance.json').read_text())['tests']
    assert test['metrics'] == metrics and 0 <= metrics['accuracy/top1'] <= 100
    assert test['checkpoint']['source'] == str(checkpoint) and test['tta'] is False
    # A checkpoint of another model is refused: mmengine would score what is left.
    weights = torch.load(checkpoint, weights_only=False)
    del weights['state_dict']['backbone.layers.0.attn.qkv.weight']
    torch.save(weights, tmp_path / 'part.pth')
    refused = start(tmp_path / 'checked_classifier.py', parts, tmp_path / 'part.pth', '--no-pin-memory',
                    tool=stock_tool('mmpretrain', 'test'))
    assert 'part.pth does not fit the model of this config: 1 weights are missing' in finish(parts, refused, 1)


@pytest.mark.soak
def test_what_is_wrong_ends_a_stock_tool_before_the_first_iteration(digit_scenes, tmp_path):
    config = write_checked_config(tmp_path, SEGMENTOR, digit_scenes, length=6, save=2, validate=3)
    for number, (options, message) in enumerate([
            (['train_cfg.max_iter=5'], "IterBasedTrainLoop takes no 'max_iter'; did you mean max_iters"),
            (['checks.dta=False'], "'dta'; did you mean data"),
            (['checkpoint=nowhere.pth'], 'initial weights: checkpoint nowhere.pth does not exist'),
            (['model.decode_head.num_classes=5'], 'has 11 classes, the model predicts 5')]):
        work_dir = tmp_path / f'run{number}'
        process = train('mmseg', config, work_dir, '--cfg-options', *options)
        assert message in finish(work_dir, process, 1)
        assert not list(work_dir.glob('*.pth'))
