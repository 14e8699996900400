"""DINOHook in mmengine's Runner: the frozen last layer, the teacher, what it leaves behind, and an exact resume."""

import copy
import logging
import shutil
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mmlocat.checkpoints import read_checkpoint, translate
from mmlocat.models import LocAtViT
from mmlocat.models.building import load_weights
from mmlocat.training.load_from import BareViTHook

ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
BACKBONE = dict(type='LocAtViT', arch=ARCH, img_size=16, patch_size=4, out_type='cls_token', interpolate_mode='dino')
OPTIMIZER = dict(type='PerParameterClipAdamW', lr=0.01, max_norm=1.)


@HOOKS.register_module(force=True)
class KeepWeights(Hook):
    """Keeps the last layer and the teacher after each epoch."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.kept = []

    def before_train(self, runner):
        self.after_train_epoch(runner)

    def after_train_epoch(self, runner):
        self.kept.append(copy.deepcopy(runner.model.state_dict()))


def runner(folder, epochs, resume=False, optimizer=OPTIMIZER, train_cfg=None, accumulative_counts=1):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    views = [[torch.randint(256, (3, side, side), dtype=torch.uint8, generator=generator) for side in (16, 16, 8)]
             for _ in range(4)]
    init_default_scope('mmpretrain')
    return Runner(
        model=ConfigDict(type='DINO', backbone=BACKBONE, data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
                         head=dict(type='DINOHead', in_channels=16, num_prototypes=8, hidden_channels=16,
                                   bottleneck_channels=8)),
        work_dir=str(folder), resume=resume,
        train_dataloader=dict(dataset=[dict(inputs=view, data_samples=DataSample()) for view in views], batch_size=2,
                              num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                              collate_fn=lambda batch: dict(
                                  inputs=[torch.stack(same) for same in zip(*(one['inputs'] for one in batch))],
                                  data_samples=[one['data_samples'] for one in batch])),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=optimizer, accumulative_counts=accumulative_counts),
        custom_hooks=[dict(type='DINOHook'), dict(type='KeepWeights')],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)), randomness=dict(seed=1),
        default_scope='mmpretrain', experiment_name=f'{folder.parent.name}-{folder.name}')


def kept(run):
    return next(hook for hook in run.hooks if isinstance(hook, KeepWeights)).kept


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Trains two epochs; returns the work dir, and the weights at the start and after each epoch."""
    folder = tmp_path_factory.mktemp('dino') / 'whole'
    run = runner(folder, 2)
    run.train()
    return folder, kept(run)


def test_the_last_layer_learns_from_the_second_epoch_and_the_teacher_follows(trained, tmp_path):
    folder, (start, first, second) = trained
    layer, token = 'head.last_layer.weight_v', 'teacher.module.backbone.cls_token'
    assert torch.equal(start[layer], first[layer]) and not torch.equal(first[layer], second[layer])
    assert torch.equal(start[token], start['backbone.cls_token']) and not torch.equal(start[token], second[token])
    assert (second[token] - start[token]).abs().max() < (second['backbone.cls_token'] - start[token]).abs().max()
    # From the checkpoint of the first epoch the second gives the same bits, teacher and centre included.
    (tmp_path / 'resumed').mkdir()
    checkpoint = shutil.copy(folder / 'epoch_1.pth', tmp_path / 'resumed')
    (tmp_path / 'resumed' / 'last_checkpoint').write_text(checkpoint)
    resumed = runner(tmp_path / 'resumed', 2, resume=True)
    resumed.train()
    assert all(torch.equal(value, second[name]) for name, value in resumed.model.state_dict().items())


@pytest.mark.parametrize(('file', 'nesting'), [
    ('teacher.pth', 'state_dict'), ('epoch_2.pth', 'state_dict.teacher.module')])
def test_another_model_takes_the_teacher(trained, file, nesting):
    source, (*_, weights) = str(trained[0] / file), trained[1]
    read = read_checkpoint(source, trust_pickle=True)
    assert read.ref_grid == (4, 4) and translate(read.whole).nesting == nesting
    backbone = LocAtViT(ARCH, 16, 4, init_cfg=dict(type='Pretrained', checkpoint=source))
    backbone.init_weights()
    init_default_scope('mmpretrain')
    classifier = MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE))
    load_weights(classifier, read)
    tested = MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE))
    checkpoint = dict(read.whole)  # by load_from, which is what a test does
    BareViTHook().after_load_checkpoint(SimpleNamespace(model=tested, logger=logging.getLogger()), checkpoint)
    tested.load_state_dict(checkpoint['state_dict'])
    for model in (backbone, classifier.backbone, tested.backbone):
        for name, value in model.state_dict().items():
            assert torch.equal(value, weights[f'teacher.module.backbone.{name}']), name
        assert not torch.equal(model.cls_token, weights['backbone.cls_token'])
    report = str(backbone.fit_checkpoint(dict(read.state_dict)))
    assert ("under 'teacher.module', DINO's teacher" in report) == (file != 'teacher.pth')


def test_an_iteration_that_accumulates_gradients_does_not_move_the_teacher(tmp_path):
    run = runner(tmp_path / 'run', 1, accumulative_counts=2)
    before = run.model.teacher.steps.item()
    run.train()
    assert run.model.teacher.steps.item() == before + 1  # two iterations, one update


@pytest.mark.parametrize(('change', 'message'), [
    (dict(optimizer=dict(type='AdamW', lr=0.01)), 'DINOHook needs .*PerParameterClipAdamW.* got AdamW'),
    (dict(train_cfg=dict(by_epoch=False, max_iters=2)), 'frozen for some epochs, but train_cfg counts iterations'),
])
def test_what_could_not_freeze_or_clip_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        runner(tmp_path / 'run', 1, **change).train()
