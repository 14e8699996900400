"""The leaves of every head, small and short: their own optimizers lower their losses, and any size can be tested."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.cli import training_job
from mmlocat.training.context import Context
from mmlocat.training.hardware import adapt_to_hardware
from tests.conftest import ROOT, hidden_gpus
from tests.helpers.small_models import shrink

HEADS = ('dpt', 'segmenter', 'setr', 'segformer', 'fpn', 'fcn')
CROP = 64


def small(name):
    """Returns the config of a leaf for this machine's CPU, with a thin model of twelve blocks."""
    config = load_config(str(ROOT / 'configs' / f'{name}.py'))
    with hidden_gpus():
        adapt_to_hardware(config, Context())
    init_default_scope('mmseg')
    model = ConfigDict(shrink(config.model.to_dict()))
    model['backbone'].update(init_cfg=None, drop_path_rate=0, patch_size=8, img_size=CROP)
    model.pop('data_preprocessor')
    if model['test_cfg']['mode'] == 'slide':
        model['test_cfg'].update(crop_size=(48, 48), stride=(32, 32))
    return config, model


def train(config, model, sample, steps=6, images=None):
    """Trains on one batch, noise by default, by the leaf's optimizer; returns the loss of every step.

    The rate is one for short trainings.
    """
    model.init_weights()
    config.optim_wrapper.optimizer.lr = 0.05 if config.optim_wrapper.optimizer.type == 'SGD' else 3e-3
    wrapper = build_optim_wrapper(model.train(), config.optim_wrapper)
    images, losses = torch.randn(2, 3, CROP, CROP) if images is None else images, []
    for _ in range(steps):
        loss, _ = model.parse_losses(model.loss(images, [sample(), sample()]))
        wrapper.backward(loss)
        assert [name for name, value in model.named_parameters() if value.grad is None] == []
        wrapper.step()
        wrapper.zero_grad()
        losses.append(loss.item())
    return losses, wrapper


@pytest.mark.parametrize('head', HEADS)
def test_a_head_learns_and_segments_any_size(head):
    config, settings = small(f'locatvit_{head}_ade20k')
    model = MODELS.build(settings)
    assert type(model.decode_head).__name__ == config.model.decode_head.type
    labels = torch.arange(CROP)[None, :, None].expand(1, CROP, CROP) // 16  # four bands

    def sample():
        return SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=(CROP, CROP)))

    before = {name: value.clone() for name, value in model.named_parameters()}
    losses, wrapper = train(config, model, sample)
    assert losses[0] - losses[-1] > 0.1
    # Without Adam what hardly matters, such as the bias of keys, may stay as it is.
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert still == set() or 'Adam' not in config.optim_wrapper.optimizer.type
    assert {name for name in still if 'log_alpha' in name or 'patch_embed' in name} == set()
    rates = {group['lr'] for group in wrapper.param_groups}
    assert len(rates) == dict(dpt=1, segmenter=1, setr=2).get(head, 14)
    with torch.no_grad():
        found = model.eval().predict(torch.randn(1, 3, 53, 70))[0].seg_logits.data
    assert found.shape == (11, 53, 70) and found.isfinite().all() and found.std() > 0


def test_what_reads_numbers_while_it_is_built_has_shapes_too():
    """Operations and parameters are counted on the meta device, where Segmenter's head cannot be built."""
    _, settings = small('locatvit_segmenter_ade20k')
    model = build_model(Config(dict(default_scope='mmseg', model=settings)), 'meta')
    assert all(value.is_meta for value in model.parameters())


@pytest.fixture
def nyu(tmp_path):
    """Two rooms for training and one for the test in the layout of NYU Depth V2: depth grows from left to right."""
    millimetres = np.tile(np.linspace(1000, 9000, 640), (480, 1)).astype(np.uint16)
    for split, count in (('train', 2), ('test', 1)):
        for kind in ('images', 'annotations'):
            (tmp_path / kind / split).mkdir(parents=True)
        for number in range(count):
            image = np.repeat((millimetres // 36)[..., None], 3, 2).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / 'images' / split / f'kitchen_{number}.jpg')
            Image.fromarray(millimetres).save(tmp_path / 'annotations' / split / f'kitchen_{number}.png')
    return tmp_path


def thin_depth():
    """Returns the config of the depth leaf, and its model so thin that it trains in seconds."""
    config, model = small('locatvit_depth_nyu')
    model['decode_head'].update(in_channels=[32] * 4, embed_dim=16, feature_dim=128)
    arch = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=32)
    model['backbone'].update(arch=arch, patch_size=16, out_indices=(0, 1, 2, 3))
    model['neck']['embed_dim'] = 32
    return config, model


def test_depth_is_learned():
    config, settings = thin_depth()
    model = MODELS.build(settings)
    depth = torch.linspace(1, 9, CROP).expand(1, CROP, CROP)  # in metres, from left to right

    def sample():
        return SegDataSample(gt_depth_map=PixelData(data=depth), metainfo=dict(img_shape=(CROP, CROP)))

    def scenes(number):  # what is far is bright
        return (depth - 5) / 2 + 0.3 * torch.randn(number, 3, CROP, CROP)

    before = {name: value.clone() for name, value in model.named_parameters()}
    losses, _ = train(config, model, sample, 60, scenes(2))
    assert losses[-1] < 0.5 * losses[0]
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {name for name in before if 'log_alpha' in name or 'patch_embed' in name} <= moved
    with torch.no_grad():
        found = model.eval().predict(scenes(1))[0].pred_depth_map.data
    assert (found - depth).square().mean().sqrt() < 0.5 * depth.std()  # the root mean square error of the best constant


def test_depth_is_trained_and_tested_as_the_leaf_says(nyu, tmp_path):
    """By tools/train.py with all its checks, pipelines and metric; the rooms are small, the model is thin."""
    config, model = thin_depth()
    config.model = dict(model, data_preprocessor=config.model.data_preprocessor)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(nyu)
    crop = next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomCrop')
    crop.crop_size = config.model.data_preprocessor.size = (96, 96)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.checkpoint = None
    config.dump(tmp_path / 'depth.py')
    trained = training_job([str(tmp_path / 'depth.py'), '--work-dir', str(tmp_path / 'w'), '--allow-random-backbone',
                            '--cfg-options', 'param_scheduler.0.end=1', 'param_scheduler.1.begin=1',
                            'param_scheduler.1.end=2'])()
    scores = json.loads(next((tmp_path / 'w').glob('*/vis_data/*.json')).read_text().splitlines()[-1])
    assert 0 < scores['rmse'] < 10 and trained is not None
