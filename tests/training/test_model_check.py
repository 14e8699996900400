"""Batches of a training and of its validation that the model cannot take, found before the first iteration."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import InfiniteSampler
from torch.utils.data import DataLoader

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.context import TRAIN, Context
from mmlocat.training.model_check import check_last_batch, check_model
from mmlocat.training.training_data import _check_sizes
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def upernet():
    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_upernet_digitscenes.py'))
    return config, build_model(config)


def last_batch(upernet, images, processes=1, **options):
    config, model = upernet
    loop = SimpleNamespace(dataloader=DataLoader(range(images), **options))
    return check_last_batch(config, Context(TRAIN, processes, runner=SimpleNamespace(model=model, train_loop=loop)))


def test_a_last_batch_of_one_image_is_refused_where_batchnorm_cannot_train_on_it(upernet):
    with pytest.raises(ValueError, match=r'last batch of an epoch has one image \(31 by 6\), .*drop_last'):
        last_batch(upernet, 31, batch_size=6)
    with pytest.raises(ValueError, match='one image'):  # wrapped, as the Runner has it
        last_batch(upernet, 31, batch_size=6, sampler=SimpleNamespace(sampler=range(31)))
    endless = InfiniteSampler(range(31))
    for options in (dict(batch_size=5, drop_last=True), dict(batch_size=4), dict(batch_size=6, sampler=endless)):
        assert last_batch(upernet, 31, **options) == []
    assert last_batch(upernet, 31, batch_size=6, processes=2) == []  # SyncBN sees the images of both


def test_a_decoder_inside_of_the_backbone_is_run_with_it():
    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_eomt_digitscenes.py'))
    model = build_model(config)
    context = Context(TRAIN, runner=SimpleNamespace(model=model))
    assert check_model(config, context) == []
    model.decode_head.classifier = torch.nn.Linear(32, 12)  # for another width
    with pytest.raises(ValueError, match='model.backbone .*does not fit what it gets'):
        check_model(config, context)


def sizes(upernet, *sides, batch_size=2, keys=('inputs', )):
    data = [{key: torch.zeros(3, side, 36) for key in keys} for side in sides]
    _check_sizes(upernet[1], DataLoader(data, batch_size=batch_size), 'val')


def test_images_of_several_sizes_are_no_batch_of_a_validation(upernet):
    with pytest.raises(ValueError, match=r'val_dataloader.batch_size=2, but .* several sizes \(36 x 20, 36 x 36\), .*'
                                         'set val_dataloader.batch_size=1, or keep_ratio=False'):
        sizes(upernet, *[36] * 20, 20)
    sizes(upernet, 36, 20, batch_size=1)
    sizes(upernet, *[36] * 20)
    sizes(upernet, 36, 20, keys=())
