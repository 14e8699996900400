"""What a model needs and does not get, and batches that it cannot take: found before the first iteration."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import EMAHook
from torch.utils.data import DataLoader

from mmlocat.config import load_config
from mmlocat.engine.dino import DINOHook
from mmlocat.models.building import build_model
from mmlocat.training.context import TEST, TRAIN, Context
from mmlocat.training.model_check import check_last_batch, check_model, check_needs
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


def test_a_decoder_inside_of_the_backbone_is_run_with_it(monkeypatch):
    def refuse(*args):
        raise ValueError('no masks')

    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_eomt_digitscenes.py'))
    model = build_model(config)
    context = Context(TRAIN, runner=SimpleNamespace(model=model))
    assert check_model(config, context) == []
    assert not any(model.decode_head.mask_shares)  # those of the training's own model stay as they are
    with monkeypatch.context() as patch:
        patch.setattr(type(model.decode_head), 'attention_bias', refuse)  # as in the first iteration, masks are on
        with pytest.raises(ValueError, match='model.backbone: no masks'):
            check_model(config, context)
        assert check_model(config, Context(TEST, runner=context.runner)) == []
    model.decode_head.classifier = torch.nn.Linear(32, 12)  # for another width
    with pytest.raises(ValueError, match='model.backbone .*does not fit what it gets'):
        check_model(config, context)


def dino(hooks, **changes):
    """Runs the check of what a model needs on a DINO and these hooks."""
    config = load_config(str(ROOT / 'configs' / 'vit-nano_dino_digitscenes.py'))
    config.update(changes)
    return check_needs(config, Context(runner=SimpleNamespace(model=build_model(config), hooks=hooks)))


def test_a_model_without_a_hook_that_it_needs_or_split_against_its_word_is_refused():
    assert dino([DINOHook()]) == dino([EMAHook(), type('Mine', (DINOHook, ), {})()]) == []
    with pytest.raises(ValueError, match=r"DINO does not train without DINOHook, and custom_hooks=\[{'type': 'EMAHook'}"
                                         r"\] has none; add dict\(type='DINOHook'\) to it"):
        dino([EMAHook()], custom_hooks=[dict(type='EMAHook')])
    with pytest.raises(ValueError, match='model.type=DINO cannot be sharded by FSDP; leave configs/_base_/fsdp.py'):
        dino([DINOHook()], strategy=dict(type='FSDPStrategy'))
    plain = SimpleNamespace(model=torch.nn.Linear(1, 1), hooks=[])
    assert check_needs(Config(dict(strategy=dict(type='FSDPStrategy'))), Context(runner=plain)) == []
