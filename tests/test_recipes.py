"""Recipes do what method and comments say: learning rates, parameter groups, what becomes of images and labels.

test_pretraining_recipes.py has the pretraining of every row of the paper's table.
"""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmlocat.analysis.recipe import parameter_groups
from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.training.recipe import learning_rates
from tests.conftest import ROOT


def load(name):
    config = load_config(str(ROOT / 'configs' / f'{name}.py'))
    init_default_scope(config.default_scope)
    return config


# Learning rates


def test_linear_schedule_is_torchs_one_cycle():
    rates = learning_rates(load('vit_linear_ade20k'))[:, 0]
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=20000, pct_start=0.25, anneal_strategy='linear', div_factor=1e4,
        final_div_factor=1e4, cycle_momentum=False)
    expected = []
    for _ in range(20000):
        expected.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        if len(expected) < 20000:
            scheduler.step()
    assert (rates - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-12
    assert rates.max() == pytest.approx(1e-3) and len(rates) == 20000


@pytest.mark.parametrize(('name', 'iterations'), [
    ('vit_upernet_ade20k', 160000), ('vit_upernet_pascal_context59', 80000), ('vit_upernet_coco_stuff164k', 160000)])
def test_upernet_warms_up_and_then_falls_linearly_to_zero_at_every_depth(name, iterations):
    config = load(name)
    assert config.train_cfg.max_iters == iterations
    if name.endswith('stuff164k'):  # nothing new to compute
        assert config.param_scheduler == load('vit_upernet_ade20k').param_scheduler
        return
    rates = learning_rates(config, multipliers=(1.0, 0.9**13))
    step = torch.arange(iterations, dtype=torch.float64)
    rising = 6e-5 * (1e-6 + (1 - 1e-6) * step / 1499)
    falling = 6e-5 * (1 - (step - 1500) / (iterations - 1501))
    expected = torch.where(step < 1500, rising, falling)
    assert (rates[:, 0] - expected).abs().max() < 1e-13
    assert (rates[:, 1] - expected * 0.9**13).abs().max() < 1e-13
    assert rates[-1, 0] == pytest.approx(0, abs=1e-13) and rates.max() == pytest.approx(6e-5)


def test_batches_are_the_recipes_on_eight_gpus():
    for name, total in dict(vit_imagenet=1024, vit_linear_coco_stuff164k=32, vit_upernet_pascal_context59=16,
                            vit_eomt_ade20k=16).items():
        config = load(name)
        assert config.auto_scale_lr.base_batch_size == total == 8 * config.train_dataloader.batch_size


# Parameter groups


def groups(name, device='cpu'):
    """Returns (multiple of the learning rate, weight decay) of every trained parameter, and the model."""
    config = load(name)
    model = build_model(config, device)
    return {parameter: (group.lr_multiplier, group.weight_decay)
            for group in parameter_groups(model, config) for parameter in group.names}, model


@pytest.mark.parametrize('name', [
    'locatvit-tiny_linear_pascal_context59', 'locatswin-tiny_linear_ade20k', 'locatvit-tiny-rope_linear_ade20k',
    'locatjumbo-tiny_linear_ade20k'])
def test_linear_trains_the_head_alone_and_decays_all_of_it(name):
    found, model = groups(name, 'meta')
    assert found == {f'decode_head.{name}': (1, 0.01) for name in (
        'conv_seg.weight', 'conv_seg.bias', 'convs.0.conv.weight', 'convs.0.gn.weight', 'convs.0.gn.bias')}
    assert not any(module.training for module in model.train().backbone.modules())


def test_upernet_slows_the_stem_and_decays_no_vectors_and_no_tokens():
    found, model = groups('locatvit-tiny_upernet_ade20k')
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        rate, decay = found[name]
        free = parameter.ndim == 1 or name in ('backbone.cls_token', 'backbone.pos_embed')
        assert decay == (0 if free else 0.01), name
        depth = 0
        if not name.startswith('backbone.'):
            depth = 13
        elif name.startswith('backbone.layers.'):
            depth = int(name.split('.')[2]) + 1
        assert rate == pytest.approx(0.9**(13 - depth)), name
    assert found['backbone.layers.11.attn.gaug.log_alpha.weight'] == (pytest.approx(0.9), 0.01)


def test_eomt_slows_the_blocks_trains_its_queries_at_the_full_rate_and_ends_at_zero():
    found, model = groups('locatvit_eomt_ade20k', 'meta')
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name in ('decode_head.queries', 'decode_head.mask_mlp.0.weight'):
        assert found[name] == (1, 0.05)
    assert found['backbone.ln1.weight'] == found['decode_head.classifier.bias'] == (1, 0)
    for block in (0, 8, 11):
        assert found[f'backbone.layers.{block}.attn.qkv.weight'] == (pytest.approx(0.8**(12 - block)), 0.05)
    config = load('vit_eomt_ade20k')
    assert config.train_cfg.max_iters == 31 * (20210 // 16) and config.optim_wrapper.clip_grad.max_norm == 0.01
    rates = learning_rates(config)[:, 0]
    assert rates.max() == pytest.approx(1e-4) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[1500 + (39153 - 1501) // 2] == pytest.approx(1e-4 * 0.5**0.9, rel=1e-3)


# Images and labels

COLOUR = (200, 100, 50)  # red, green, blue
LABELS = dict(ade20k=(0, 1, 150), pascal_context59=(0, 1, 59), coco_stuff164k=(0, 170, 255))
MAPPED = dict(ade20k=(255, 0, 149), pascal_context59=(255, 0, 58), coco_stuff164k=(0, 170, 255))
PLACES = dict(
    ade20k=('images/{}/a.jpg', 'annotations/{}/a.png', ('training', 'validation')),
    pascal_context59=('JPEGImages/a.jpg', 'SegmentationClassContext/a.png', ('train', 'val')),
    coco_stuff164k=('images/{}/a.jpg', 'annotations/{}/a_labelTrainIds.png', ('train2017', 'val2017')))


def write_image(path, height=120, width=160):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), COLOUR[::-1], np.uint8))


def write_scene(root, data):
    """Writes one image in the data set's official layout, for both splits; a third of it bears each label."""
    image, label, splits = PLACES[data]
    for split in splits:
        write_image(root / image.format(split))
        file = root / label.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.tile(np.repeat(np.array(LABELS[data], np.uint8), (54, 53, 53)), (120, 1)))
        if data == 'pascal_context59':
            file = root / 'ImageSets' / 'SegmentationContext' / f'{split}.txt'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('a\n')


def samples(config, loader, root):
    settings = config[loader].dataset.copy()
    settings.data_root = str(root)
    return DATASETS.build(settings)


@pytest.mark.parametrize('data', list(LABELS))
@pytest.mark.parametrize('head', ['linear', 'upernet'])
def test_segmentation_images_and_labels(data, head, tmp_path):
    write_scene(tmp_path, data)
    config = load(f'vit-tiny_{head}_{data}')
    preprocessor = MODELS.build(config.model.data_preprocessor)
    mean, std = dict(linear=((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
                     upernet=((127.5, ) * 3, (127.5, ) * 3))[head]
    expected = (torch.tensor(COLOUR) - torch.tensor(mean)) / torch.tensor(std)

    side = 480 if data == 'pascal_context59' else 512
    dataset = samples(config, 'train_dataloader', tmp_path)
    for _ in range(4):  # resizing and cropping are random
        batch = preprocessor(pseudo_collate([dataset[0]]), training=True)
        assert batch['inputs'].shape == (1, 3, side, side) and batch['inputs'].dtype == torch.float32
        label, = (sample.gt_sem_seg.data for sample in batch['data_samples'])
        assert label.shape == (1, side, side)
        assert set(label.unique().tolist()) <= {*MAPPED[data], 255}  # 255 is also what pads

    item = samples(config, 'val_dataloader', tmp_path)[0]
    batch = preprocessor(pseudo_collate([item]))
    assert batch['inputs'].shape[2:] == ((390, 520) if data == 'pascal_context59' else (512, 683))
    assert (batch['inputs'][0].mean(dim=(1, 2)) - expected).abs().max() < 0.05  # JPEG's own error is 0.02
    label = item['data_samples'].gt_sem_seg.data[0]
    assert label.shape == (120, 160)
    assert label[0, [0, 80, 159]].tolist() == list(MAPPED[data])

    config.val_dataloader.dataset.pipeline = config.tta_pipeline
    views = samples(config, 'val_dataloader', tmp_path)[0]
    sizes = {tuple(view.shape[1:]) for view in views['inputs']}
    flipped = [bool(sample.get('flip')) for sample in views['data_samples']]
    assert len(views['inputs']) == 12 and sum(flipped) == 6 and len(sizes) == 6
    assert tuple(batch['inputs'].shape[2:]) in sizes
    assert max(max(size) for size in sizes) == pytest.approx(1.75 * max(batch['inputs'].shape[2:]), abs=2)


def test_imagenet_images(tmp_path):
    for split in ('train', 'val'):
        write_image(tmp_path / split / 'n02085620' / 'a.JPEG', 300, 400)
        (tmp_path / 'meta').mkdir(exist_ok=True)
        (tmp_path / 'meta' / f'{split}.txt').write_text('n02085620/a.JPEG 151\n')
    check_classification(load('locatvit-tiny_imagenet'), tmp_path, 151)


def test_mini_imagenet_images(tmp_path):
    for split in ('train', 'val'):
        for number in range(100):
            write_image(tmp_path / split / f'n{number:08}' / 'a.jpg', 30 if number else 300, 40 if number else 400)
    config = load('locatvit-tiny_mini-imagenet')
    check_classification(config, tmp_path, 0)
    assert samples(config, 'test_dataloader', tmp_path).get_gt_labels().tolist() == list(range(100))


def check_classification(config, root, label):
    preprocessor = MODELS.build(config.data_preprocessor)
    training = samples(config, 'train_dataloader', root)
    item = samples(config, 'val_dataloader', root)[0]
    for dataset_item in (training[0], item):
        assert dataset_item['data_samples'].gt_label.item() == label
        batch = preprocessor(pseudo_collate([dataset_item]))
        assert batch['inputs'].shape == (1, 3, 224, 224) and batch['inputs'].abs().max() <= 1
    expected = (torch.tensor(COLOUR) - 127.5) / 127.5
    assert (batch['inputs'][0].mean(dim=(1, 2)) - expected).abs().max() < 0.03
    augments = config.model.train_cfg.augments
    assert [(augment.type, augment.alpha) for augment in augments] == [('Mixup', 0.8), ('CutMix', 1.0)]
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert steps['RandomErasing'].erase_prob == 0.25 and steps['RandAugment'].magnitude_level == 9
