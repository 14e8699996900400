"""Every parameter that is trained takes part in every loss: ``find_unused_parameters=False`` never surprises."""

import json
import re
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmlocat.config import load_config
from mmlocat.training.context import Context
from mmlocat.training.hardware import adapt_to_hardware
from tests.conftest import ROOT
from tests.helpers.small_models import shrink

# Retrieval and k-NN train nothing; DINO's loss takes views, and its teacher has no gradient. Depth is no
# class: tests/models/test_heads.py trains it.
NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py')
               if not re.search('_dino|_knn|_hummingbird|_depth', path.stem))


def structures(names):
    """Returns the distinct models of some leaves: name of the first, scope, config as text, side of an image."""
    found = {}
    for name in names:
        config = load_config(str(ROOT / 'configs' / f'{name}.py'))
        if config.get('find_unused_parameters'):  # the plain Jumbo says that its last patches reach no loss
            continue
        config.pop('optim_wrapper', None)  # its precision may be none of this machine's
        with mock.patch('torch.cuda.is_available', lambda: False):
            adapt_to_hardware(config, Context())  # for the CPU, on which models here stay: SyncBN becomes BN
        model = shrink(config.model.to_dict())
        if 'jumbo-nano' in name and 'head' in model:  # six times 64 channels are no Small's 384
            model['head']['in_channels'] = 6 * 64
        model['backbone'].update(init_cfg=None, drop_path_rate=0)
        model.pop('data_preprocessor', None)
        model.pop('train_cfg', None) if config.default_scope == 'mmpretrain' else None  # mixing images
        key = (config.default_scope, json.dumps(model, sort_keys=True), 36 if 'digitscenes' in name else 48)
        found.setdefault(key, name)
    return [(name, *key) for key, name in found.items()]


@pytest.fixture(scope='module')
def one_process(tmp_path_factory):
    """A group of one process over gloo: the reducer keeps the same books as for many."""
    assert not torch.distributed.is_initialized()
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp('group') / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def wrap(model):
    return MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False, find_unused_parameters=False)


def sample(scope, side, classes):
    if scope == 'mmpretrain':
        return DataSample().set_gt_label(1)
    return SegDataSample(gt_sem_seg=PixelData(data=torch.randint(classes, (1, side, side))),
                         metainfo=dict(img_shape=(side, side), ori_shape=(side, side)))


def train_twice(model, scope, side, classes):
    """DistributedDataParallel complains in the step after the one that left a parameter out."""
    wrapped = wrap(model.train())
    for _ in range(2):
        losses = wrapped(torch.randn(2, 3, side, side), [sample(scope, side, classes) for _ in range(2)], mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
    return {name for name, value in model.named_parameters() if value.requires_grad and value.grad is None}


def check_structures(found):
    for name, scope, text, side in found:
        init_default_scope(scope)
        model = MODELS.build(json.loads(text))
        head = model.head if scope == 'mmpretrain' else model.decode_head
        assert sum(value.requires_grad for value in model.parameters()) >= 5
        assert train_twice(model, scope, side, head.num_classes) == set(), name


def test_small_models_use_every_parameter(one_process):
    found = structures([name for name in NAMES if '-nano' in name])
    assert {name.split('_')[0] for name, *_ in found} >= {'locatvit-nano', 'locatvit-nano-gaug', 'vit-nano'}
    check_structures(found)


@pytest.mark.soak
def test_every_model_uses_every_parameter(one_process, figure):
    found = structures(NAMES)
    check_structures(found)
    assert {name.split('_')[0] for name, *_ in found} >= {
        'locatvit-small', 'locatvit-prr', 'locatvit-nopos', 'locatvit-reg4', 'vit-small', 'vit-gap', 'vit-nopos'}
    figure('Distributed', 'distinct models of all configs trained with find_unused_parameters=False, without complaint',
           f'{len(found)} of {len(found)}')


def test_an_unused_parameter_would_be_noticed(one_process):
    init_default_scope('mmseg')
    config = Config.fromfile(str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'))
    model = MODELS.build({**config.model, 'backbone': {**config.model.backbone, 'frozen_stages': -1}})
    model.backbone.forgotten = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(RuntimeError, match='Expected to have finished reduction in the prior iteration'):
        train_twice(model, 'mmseg', 36, 11)
