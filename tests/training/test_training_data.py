"""Data that a job could not take: found as its loops are built."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.context import TRAIN, Context
from mmlocat.training.training_data import build_data
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def upernet():
    return build_model(load_config(str(ROOT / 'configs' / 'locatvit-nano_upernet_digitscenes.py')))


def sizes(model, *sides, batch_size=2, keys=('inputs', )):
    """Builds the data of a training whose validation has images of these heights."""
    loader = DataLoader([{key: torch.zeros(3, side, 36) for key in keys} for side in sides], batch_size=batch_size)
    loop = SimpleNamespace(dataloader=loader)
    build_data(Config(), Context(TRAIN, runner=SimpleNamespace(
        model=model, seed=0, _train_dataloader=loader, train_loop=loop, _val_loop=loop, val_loop=loop,
        build_dataloader=lambda loader, **options: loader)))


def test_images_of_several_sizes_are_no_batch_of_a_validation(upernet):
    with pytest.raises(ValueError, match=r'val_dataloader.batch_size=2, but .* several sizes \(36 x 20, 36 x 36\), .*'
                                         'set val_dataloader.batch_size=1, or keep_ratio=False'):
        sizes(upernet, *[36] * 20, 20)
    sizes(upernet, 36, 20, batch_size=1)
    sizes(upernet, *[36] * 20)
    sizes(upernet, 36, 20, keys=())
