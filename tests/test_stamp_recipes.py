"""The arms of StampScenes: what tells them apart, and that nothing else does."""

from mmlocat.experiments.leaderboard.names import parse
from mmlocat.experiments.suite.rows import load_suite
from tests.test_configs import difference, load

GAUG = {'model.backbone.gaug': True}
PRR = {'model.backbone.out_type': 'raw', 'model.neck.type': 'PatchRefinement', 'model.neck.num_heads': 2}


def test_arms_differ_in_the_method_alone():
    for arm, parts in {'': {**GAUG, **PRR}, '-gaug': GAUG, '-prr': PRR}.items():
        assert difference(f'locatvit-nano{arm}_stampscenes', 'vit-nano_stampscenes') == parts
        # PRR belongs to classification.
        assert difference(f'locatvit-nano{arm}_linear_stampscenes', 'vit-nano_linear_stampscenes') == {
            key: value for key, value in parts.items() if key in GAUG}


def test_the_control_is_trained_for_longer_and_nothing_else():
    assert set(difference('vit-nano-long_stampscenes', 'vit-nano_stampscenes')) == {
        'param_scheduler', 'train_cfg.max_epochs', 'train_cfg.val_interval'}
    for arm in ('', '-long'):
        config = load(f'vit-nano{arm}_stampscenes')
        warm_up, cosine = config.param_scheduler
        assert cosine.end == config.train_cfg.max_epochs == config.train_cfg.val_interval
        assert warm_up.end == cosine.begin == cosine.end / 10 and cosine.T_max == cosine.end - cosine.begin


def test_the_recipe_is_that_of_digitscenes_on_larger_pictures():
    data = [f'{split}_dataloader.dataset.type' for split in ('train', 'val', 'test')]
    found = difference('vit-nano_stampscenes', 'vit-nano_digitscenes')
    assert set(found) - {'_epochs'} == {
        *data, 'param_scheduler', 'train_cfg.max_epochs', 'train_cfg.val_interval', 'data_preprocessor.num_classes',
        'model.head.num_classes', 'model.backbone.img_size', 'model.backbone.patch_size'}
    assert (found['model.backbone.img_size'], found['model.backbone.patch_size']) == (96, 8)
    found = difference('vit-nano_linear_stampscenes', 'vit-nano_linear_digitscenes')
    assert set(found) - {'num_classes', 'test_evaluator.type', 'test_evaluator.iou_metrics'} == {
        *data, 'test_evaluator', 'model.data_preprocessor.size', 'model.decode_head.num_classes',
        'model.backbone.img_size', 'model.backbone.patch_size'}


def test_the_suite_has_the_rows_and_seeds_of_digitscenes():
    stamps, digits = load_suite('stampscenes'), load_suite('digitscenes')
    assert [(row.name, row.seeds, row.parent) for row in stamps.rows] == [
        (row.name, row.seeds, row.parent) for row in digits.rows]
    assert [row.config.name.replace('stamp', 'digit') for row in stamps.rows] == [
        row.config.name for row in digits.rows]


def test_published_weights_see_scenes_at_twice_their_size_and_are_judged_at_their_own():
    assert set(difference('locatvit-tiny_linear_stampscenes', 'vit-tiny_linear_stampscenes')) == {
        'checkpoint', 'model.backbone.gaug', 'model.backbone.init_cfg.type', 'model.backbone.init_cfg.checkpoint'}
    config = load('vit-tiny_linear_stampscenes')
    assert (config.model.backbone.arch, config.model.backbone.img_size) == ('tiny', 224)
    assert config.model.backbone.frozen_stages == 12 and config.model.decode_head.num_classes == 10
    kinds = [[step.type for step in getattr(config, f'{split}_dataloader').dataset.pipeline]
             for split in ('train', 'val', 'test')]
    assert [steps.index('Resize') < steps.index('LoadAnnotations') for steps in kinds] == [False, True, True]
    for row in load_suite('stampscenes-published').rows:
        leaf = parse(row.config.name)
        assert leaf.pretraining == f'{leaf.arch}_imagenet' and load(leaf.pretraining)
