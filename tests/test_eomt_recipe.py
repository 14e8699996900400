"""EoMT's configs: its two arms, and the data that its authors train and we test on."""

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, init_default_scope

from tests.test_configs import difference, load


def test_eomt_differs_from_its_plain_arm_in_the_method_alone():
    found = difference('locatvit_eomt_ade20k', 'vit_eomt_ade20k')
    published = 'hf://sinahmr/locatvit_base'
    assert found == {'model.backbone.gaug': True, 'checkpoint': published,
                     'model.backbone.init_cfg.type': 'Pretrained', 'model.backbone.init_cfg.checkpoint': published}
    assert difference('locatvit-nano_eomt_digitscenes', 'vit-nano_eomt_digitscenes') == {'model.backbone.gaug': True}


def test_its_data_differ_from_upernets_in_scale_and_crop_of_the_training_alone():
    eomt, upernet = load('vit_eomt_ade20k'), load('vit_upernet_ade20k')
    assert eomt.test_dataloader == upernet.test_dataloader and eomt.val_dataloader == upernet.val_dataloader
    own, other = (config.train_dataloader.dataset.pipeline for config in (eomt, upernet))
    assert [step for step, theirs in zip(own, other) if step != theirs] == [
        dict(type='RandomResize', scale=(512, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=1.)]
    assert len(own) == len(other)
    for key in ('data_root', 'data_prefix', 'type'):
        assert eomt.train_dataloader.dataset[key] == upernet.train_dataloader.dataset[key]
    assert eomt.train_dataloader.batch_size == upernet.train_dataloader.batch_size
    for name in ('vit_eomt_ade20k', 'locatvit-nano_eomt_digitscenes'):
        assert load(name).tta_model.type == 'ScoreTTAModel'


@pytest.mark.parametrize('shape', [(300, 400), (400, 300)])
def test_the_longer_side_is_the_crops_times_a_half_to_two(shape):
    config = load('vit_eomt_ade20k')
    init_default_scope('mmseg')
    resize = TRANSFORMS.build(next(
        step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomResize'))
    found = [resize(dict(img=np.zeros((*shape, 3), np.uint8), img_shape=shape))['img'].shape for _ in range(20)]
    longer = [max(size) for size in found]
    assert 256 <= min(longer) < 400 < 600 < max(longer) <= 1024
    assert all(abs(min(size[:2]) - 0.75 * max(size[:2])) <= 1 for size in found)
