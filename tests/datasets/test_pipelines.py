"""The pipelines of the configs on files laid out as the originals: shapes, normalisation, label mapping, by hand."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

from mmlocat.config import load_config
from tests.helpers.layouts import COLOUR, LEARNED_VALUES, SIZE, leaf, place, quarters, write_image, write_label

SEGMENTATION = ('ade20k', 'pascal_context59', 'coco_stuff164k')
CROP = {'ade20k': 512, 'pascal_context59': 480, 'coco_stuff164k': 512}
SHORT = {'ade20k': 512, 'pascal_context59': 416, 'coco_stuff164k': 512}  # side at test: 520 is Context's longer one
SEGMENTATION_MEAN = {'linear': (123.675, 116.28, 103.53), 'upernet': (127.5, 127.5, 127.5)}
SEGMENTATION_STD = {'linear': (58.395, 57.12, 57.375), 'upernet': (127.5, 127.5, 127.5)}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)


def build(config, split):
    """Returns the data set of a split and what comes between it and the model."""
    init_default_scope(config.default_scope)
    settings = dict(config.get('data_preprocessor') or config.model.data_preprocessor)
    settings.setdefault('type', 'SegDataPreProcessor')
    return DATASETS.build(config[f'{split}_dataloader'].dataset), MODELS.build(settings)


def channels(values):
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)


@pytest.mark.parametrize('head', ['linear', 'upernet'])
@pytest.mark.parametrize('dataset', SEGMENTATION)
def test_validation_of_a_segmentor(dataset, head):
    place(dataset)
    config = load_config(leaf(f'vit_{head}_{dataset}'))
    data, preprocessor = build(config, 'val')
    assert len(data) == 4
    batch = preprocessor(pseudo_collate([data[0]]), False)
    # 40 x 32 grows by 16 to the short side 512 (Context: by 13 to the long side 520); labels keep their size.
    height = SHORT[dataset]
    assert batch['inputs'].shape == (1, 3, height, height * SIZE[0] // SIZE[1])
    expected = (channels(COLOUR) - channels(SEGMENTATION_MEAN[head])) / channels(SEGMENTATION_STD[head])
    # JPEG may change a colour by 2 of 255, which is less than the channels' means are apart.
    assert (batch['inputs'][0] - expected).abs().max() < 2.5 / min(SEGMENTATION_STD[head])
    label = batch['data_samples'][0].gt_sem_seg.data
    assert torch.equal(label, torch.from_numpy(quarters(LEARNED_VALUES[dataset]))[None].long())


@pytest.mark.parametrize('head', ['linear', 'upernet'])
@pytest.mark.parametrize('dataset', SEGMENTATION)
def test_training_of_a_segmentor(dataset, head):
    place(dataset)
    config = load_config(leaf(f'vit_{head}_{dataset}'))
    data, preprocessor = build(config, 'train')
    samples = [data[i] for i in range(4)]
    crop, learned = CROP[dataset], set(LEARNED_VALUES[dataset])
    seen = set()
    for sample in samples:
        image, label = sample['inputs'], sample['data_samples'].gt_sem_seg.data
        assert image.dtype == torch.uint8 and image.shape[0] == 3 and image.shape[1:] == label.shape[1:]
        assert max(image.shape) <= crop
        # No more than 0.75 of a crop is one class, so several of the quarters are in it.
        values = set(label.unique().tolist())
        assert values <= learned and len(values - {255}) >= 2
        seen |= values
    assert seen == learned
    batch = preprocessor(pseudo_collate(samples), True)
    assert batch['inputs'].shape == (4, 3, crop, crop)
    padded = 0
    for sample, inputs, packed in zip(samples, batch['inputs'], batch['data_samples']):
        height, width = sample['inputs'].shape[1:]
        pixels = inputs * channels(SEGMENTATION_STD[head]) + channels(SEGMENTATION_MEAN[head])
        rgb = sample['inputs'].flip(0).float()  # OpenCV's order is BGR
        assert (pixels[:, :height, :width] - rgb).abs().max() < 1e-3
        label = packed.gt_sem_seg.data
        assert label.shape == (1, crop, crop)
        assert torch.equal(label[:, :height, :width], sample['data_samples'].gt_sem_seg.data)
        outside = torch.ones(crop, crop, dtype=torch.bool)
        outside[:height, :width] = False
        padded += int(outside.sum())
        assert (inputs[:, outside] == 0).all() and (label[:, outside] == 255).all()
    assert padded > 0  # the four draws of a size hold one below the crop


def test_zero_and_255_are_ignored_alike_where_the_zero_label_is_dropped():
    root, config = place('ade20k')
    write_label(root / 'annotations' / 'validation' / 'ADE_val_00000001.png', (0, 255, 150, 1))
    data, _ = build(config, 'val')
    label = data[0]['data_samples'].gt_sem_seg.data
    assert torch.equal(label, torch.from_numpy(quarters((255, 255, 149, 0)))[None].long())


def test_validation_of_a_classifier():
    root, config = place('imagenet')
    # 300 px shrink to 248, and 12 px go on each side: the outermost that is left lies 15.1 px from the border of the
    # original, and bicubic interpolation reaches 2.4 px further. A frame of 12 px is cut away, one of 17 px is not.
    for i, frame in enumerate((12, 17)):
        image = Image.new('RGB', (300, 300), (0, 0, 255))
        image.paste(COLOUR, (frame, frame, 300 - frame, 300 - frame))
        image.save(root / 'val' / f'ILSVRC2012_val_{i + 1:08d}.JPEG', 'PNG')  # without loss
    data, preprocessor = build(config, 'val')
    batch = preprocessor(pseudo_collate([data[0], data[1]]), False)
    assert batch['inputs'].shape == (2, 3, 224, 224)
    expected = (channels(COLOUR) - 127.5) / 127.5
    assert (batch['inputs'][0] - expected).abs().max() < 1e-6
    inner = batch['inputs'][1, :, 8:-8, 8:-8]
    assert (inner - expected).abs().max() < 1e-6 and (batch['inputs'][1] - expected).abs().amax() > 0.5
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [999, 998]  # as meta/val.txt has it


@pytest.mark.parametrize('dataset', ['imagenet', 'mini-imagenet'])
def test_training_of_a_classifier(dataset):
    root, config = place(dataset)
    data, preprocessor = build(config, 'train')
    labels = [data.get_data_info(i)['gt_label'] for i in range(len(data))]
    assert labels == ([0, 0, 1, 1] if dataset == 'imagenet' else list(range(100)))
    samples = [data[i] for i in (0, 1, 2, 3)]  # in the first a grey and a CMYK image
    batch = preprocessor(pseudo_collate(samples), False)
    assert batch['inputs'].shape == (4, 3, 224, 224) and batch['inputs'].dtype == torch.float32
    for sample, inputs in zip(samples, batch['inputs']):
        assert torch.allclose(inputs * 127.5 + 127.5, sample['inputs'].flip(0).float(), atol=1e-3)
    assert len({tuple(inputs.mean((1, 2)).tolist()) for inputs in batch['inputs']}) == 4
    mixed = MODELS.build(dict(config.data_preprocessor, batch_augments=config.model.train_cfg))(
        pseudo_collate(samples), True)
    scores = torch.stack([sample.gt_score for sample in mixed['data_samples']])
    assert scores.shape == (4, 1000 if dataset == 'imagenet' else 100)
    assert torch.allclose(scores.sum(1), torch.ones(4))


def test_a_png_by_the_name_of_jpeg_is_an_image_like_any_other():
    root, config = place('imagenet')
    data, _ = build(config, 'val')
    assert (root / 'val' / 'ILSVRC2012_val_00000004.JPEG').read_bytes().startswith(b'\x89PNG')
    write_image(root / 'val' / 'ILSVRC2012_val_00000004.JPEG', 3, 'CMYK')
    assert data[3]['inputs'].shape == (3, 224, 224)
