"""provenance.json: what a training and a test write down, and that a resumed run keeps its launches."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.evaluation import IoUMetric
from PIL import Image

import mmlocat
from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from mmlocat.training.hardware import total_batch
from mmlocat.training.iou_metric import keep_class_iou
from mmlocat.training.provenance import canonical_config, config_hash, describe_checkpoint, read_record
from mmlocat.utils.machine import checkout
from tests.conftest import ROOT

CONFIG = str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py')


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def options(data_root):
    return ['--cfg-options', *(f'{part}_dataloader.dataset.data_root={data_root}' for part in ('train', 'val', 'test')),
            'train_cfg.max_iters=6', 'train_cfg.val_interval=6', 'param_scheduler.0.total_steps=6',
            'default_hooks.checkpoint.interval=3', 'train_dataloader.batch_size=8', 'randomness.seed=3']


@pytest.fixture(scope='module')
def folder(digit_scenes, tmp_path_factory):
    """Trained to the end, set back as if killed after three iterations, resumed, and tested twice."""
    folder = tmp_path_factory.mktemp('provenance')
    arguments = [CONFIG, '--work-dir', str(folder), '--allow-random-backbone', *options(digit_scenes)]
    training_job(arguments)()
    (folder / 'first.json').write_text((folder / 'provenance.json').read_text())
    (folder / 'iter_6.pth').unlink()
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_3.pth'))
    training_job([*arguments, '--resume'])()
    for _ in range(2):
        make_test_job([CONFIG, str(folder / 'iter_6.pth'), '--work-dir', str(folder), '--out', str(folder / 'maps'),
                       *options(digit_scenes)])()
    return folder


def test_a_training_says_what_it_was(folder):
    first = json.loads((folder / 'first.json').read_text())
    launch, = first['launches']
    assert launch['leaf'] == 'locatvit-nano_linear_digitscenes' and launch['seed'] == 3
    assert launch['processes'] == 1 and launch['total_batch'] == 8 and launch['device']
    assert launch['initial_checkpoint'] is None and launch['resumed_from'] is None and launch['first_iteration'] == 0
    assert launch['versions']['torch'] == torch.__version__ and launch['versions']['mmlocat'] == mmlocat.__version__
    found = checkout()
    assert launch['checkout'] == (found and dict(commit=found[0], dirty=found[1]))
    assert launch['options']['train_cfg.max_iters'] == '6'
    assert 'The frozen backbone keeps random weights (--allow-random-backbone).' in launch['remarks']
    settings = first['configs'][launch['config']]
    assert config_hash(settings) == launch['config'] and settings['train_cfg']['max_iters'] == 6
    assert 'seed' not in settings['randomness'] and 'work_dir' not in settings
    finished = launch['finished']
    assert finished['iteration'] == finished['iterations'] == 6 and 0 < finished['seconds_per_iteration'] < 60
    assert finished['checkpoint']['source'].endswith('iter_6.pth') and len(finished['checkpoint']['sha256']) == 64


def test_a_resumed_training_keeps_its_launches(folder):
    first, second = read_record(folder)['launches']
    assert first['config'] == second['config'] and first['first_iteration'] == 0
    assert second['first_iteration'] == 3
    assert second['resumed_from'] == dict(source=str(folder / 'iter_3.pth'), sha256=digest(folder / 'iter_3.pth'))
    assert second['finished']['checkpoint']['sha256'] == digest(folder / 'iter_6.pth')


def test_a_test_says_what_it_tested_and_each_class(folder, digit_scenes):
    record = read_record(folder)
    assert len(record['tests']) == 2
    test = record['tests'][-1]
    assert test['checkpoint']['sha256'] == digest(folder / 'iter_6.pth')
    assert test['images'] == 9 and test['tta'] is False and len(test['classes']) == 11
    known = [value for value in test['class_iou'] if value is not None]
    assert test['metrics']['mIoU'] == pytest.approx(np.mean(known), abs=0.006)  # mmseg rounds to two digits
    # The same from the label maps that the test wrote.
    from mmlocat.datasets import DigitScenesSegmentation
    expected = class_iou_of_maps(folder / 'maps', DigitScenesSegmentation('test', str(digit_scenes)))
    own = [float('nan') if value is None else value for value in test['class_iou']]
    np.testing.assert_allclose(own, expected, atol=1e-3)


def class_iou_of_maps(folder, dataset):
    """Returns the IoU of each class in percent, by mmseg's metric, from predicted label maps."""
    areas = []
    for scene in map(dataset.get_data_info, range(len(dataset))):
        maps = [folder / f'{Path(scene["img_path"]).stem}.png', scene['seg_map_path']]
        areas.append(IoUMetric.intersect_and_union(
            *(torch.from_numpy(np.array(Image.open(path)).astype(np.int64)) for path in maps), 11, 255))
    return IoUMetric.total_area_to_metrics(*(sum(area) for area in zip(*areas)), ['mIoU'])['IoU'] * 100


def test_a_training_from_scratch_begins_the_record_anew(folder, digit_scenes, tmp_path):
    (tmp_path / 'provenance.json').write_text((folder / 'provenance.json').read_text())
    training_job([CONFIG, '--work-dir', str(tmp_path), '--allow-random-backbone', *options(digit_scenes)])()
    record = read_record(tmp_path)
    assert len(record['launches']) == 1 and record['tests'] == [] and len(record['configs']) == 1


def test_a_finished_training_that_is_resumed_still_names_its_checkpoint(folder, digit_scenes):
    training_job([CONFIG, '--work-dir', str(folder), '--resume', *options(digit_scenes)])()
    record = read_record(folder)
    assert record['launches'][-1]['first_iteration'] == 6
    assert record['launches'][-1]['finished']['checkpoint']['sha256'] == digest(folder / 'iter_6.pth')
    assert len(record['tests']) == 2  # and the tests are kept


def test_the_hash_does_not_depend_on_order_seed_or_folder():
    first = canonical_config(Config(dict(model=dict(a=1, b=(2, 3)), work_dir='x', randomness=dict(seed=1))))
    second = canonical_config(Config(dict(randomness=dict(seed=2), model=dict(b=[2, 3], a=1), work_dir='y')))
    other = canonical_config(Config(dict(randomness=dict(seed=2), model=dict(b=[2, 4], a=1))))
    assert config_hash(first) == config_hash(second) != config_hash(other)


def test_checkpoints(tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'weights')
    assert describe_checkpoint(tmp_path / 'a.pth')['sha256'] == hashlib.sha256(b'weights').hexdigest()
    assert describe_checkpoint('hf://some/where') == dict(source='hf://some/where', sha256=None)
    assert describe_checkpoint(None) is None


def test_records_that_cannot_be_read(tmp_path):
    assert read_record(tmp_path) is None
    (tmp_path / 'provenance.json').write_text('{')
    with pytest.raises(ValueError, match='provenance.json cannot be read'):
        read_record(tmp_path)
    (tmp_path / 'provenance.json').write_text('{"version": 99}')
    with pytest.raises(ValueError, match='provenance.json cannot be read .version 99, not 1.; delete it'):
        read_record(tmp_path)


def test_total_batch_counts_processes_and_accumulated_steps():
    config = Config(dict(train_dataloader=dict(batch_size=4), optim_wrapper=dict(accumulative_counts=2)))
    assert total_batch(config, 8) == 64
    assert total_batch(Config(dict(model={})), 8) is None


def test_the_iou_of_each_class_is_kept():
    areas = [torch.tensor([3., 1., 0.]), torch.tensor([4., 2., 0.]), torch.tensor([3., 2., 0.]),
             torch.tensor([4., 1., 0.])]
    own, other = IoUMetric(), IoUMetric()
    own.dataset_meta = other.dataset_meta = dict(classes=('a', 'b', 'c'))
    metric = keep_class_iou(SimpleNamespace(metrics=[object(), own]))
    assert metric is own and metric.class_iou is None
    results = [tuple(areas)] * 2
    assert metric.compute_metrics(results) == other.compute_metrics(results)
    assert metric.class_iou == [75.0, 50.0, None]
    assert keep_class_iou(SimpleNamespace(metrics=[object()])) is None
