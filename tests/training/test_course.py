"""What would never come is refused before a training, in every form of a type; what comes after all is not."""

import pytest
from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim import PolyLR

from mmlocat.training.context import TEST, TRAIN, Context
from mmlocat.training.course import check_course
from mmlocat.training.metric_names import metric_names
from tests.conftest import ROOT
from tests.helpers.stock import stock_config

EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=2)
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=6)


def forms(kind, module):
    return [kind.__name__, f'mmengine.{kind.__name__}', kind, LazyObject(module, kind.__name__)]


def check(loop=None, job=TRAIN, **parts):
    """Checks a segmentor's config that holds nothing but these parts."""
    return check_course(Config(dict(
        default_scope='mmseg', model=dict(type='EncoderDecoder'), train_cfg=loop or ITERATIONS, val_cfg=dict(),
        val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore']), **parts)), Context(job))


def refused(message, *arguments, **parts):
    with pytest.raises(ValueError, match=message) as caught:
        check(*arguments, **parts)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('kind', forms(InfiniteSampler, 'mmengine.dataset'), ids=str)
def test_an_epoch_without_end(kind):
    endless = dict(sampler=dict(type=kind))
    message = 'train_dataloader.sampler.type=InfiniteSampler has no end, so that an epoch would have none: set .*Def'
    for loop in (EPOCHS, dict(by_epoch=True, max_epochs=2), dict(EPOCHS, type='mmengine.EpochBasedTrainLoop')):
        refused(message, loop, train_dataloader=endless)
    assert check(ITERATIONS, train_dataloader=endless) == check(dict(max_iters=6, by_epoch=False)) == []
    refused('val_dataloader.* so that validation would have none', val_dataloader=endless)
    refused('test_dataloader.* so that the test would have none', job=TEST, test_dataloader=endless)


@pytest.mark.parametrize('kind', forms(PolyLR, 'mmengine.optim'), ids=str)
def test_a_schedule_by_epoch_among_iterations(kind):
    message = r'param_scheduler.0.by_epoch=.*: PolyLR counts epochs, .* iterations, .* set param_scheduler.0.by_epoch=F'
    refused(message, param_scheduler=[dict(type=kind, by_epoch=True, end=6)])
    refused(message, param_scheduler=[dict(type=kind, end=6)])
    refused('param_scheduler.generator.by_epoch', param_scheduler=dict(generator=dict(type=kind)))
    for loop, options in ((EPOCHS, {}), (EPOCHS, dict(by_epoch=False)), (ITERATIONS, dict(by_epoch=False)),
                          (ITERATIONS, dict(convert_to_iter_based=True))):
        assert check(loop, param_scheduler=[dict(type=kind, **options)]) == []


@pytest.mark.parametrize('kind', forms(CheckpointHook, 'mmengine.hooks'), ids=str)
def test_checkpoints_that_would_never_be_saved(kind):
    def hooks(**options):
        return dict(default_hooks=dict(checkpoint=dict(type=kind, **options)))

    refused('default_hooks.checkpoint.interval=3 counts epochs .* iterations, .* set default_hooks.checkpoint.by_epoch',
            **hooks(interval=3))
    refused('custom_hooks.0.interval=3 counts epochs', custom_hooks=[dict(type=kind, interval=3)])
    for loop, by_epoch, end in ((ITERATIONS, False, 6), (EPOCHS, True, 2)):
        refused(f'interval=9 is beyond the end of the training, at {end}, and save_last is False', loop,
                **hooks(interval=9, by_epoch=by_epoch, save_last=False))
        assert check(loop, **hooks(interval=9, by_epoch=by_epoch)) == []
    assert check(EPOCHS, **hooks(interval=3, by_epoch=False)) == check(**hooks()) == []


def test_a_log_without_a_loss_is_told():
    remark, = check(default_hooks=dict(logger=dict(type='LoggerHook', interval=50)))
    assert 'default_hooks.logger.interval=50 is beyond the end of the training, at iteration 6' in remark
    assert check(default_hooks=dict(logger=dict(type='LoggerHook', interval=6))) == []
    assert check(EPOCHS, default_hooks=dict(logger=dict(type='LoggerHook', interval=50))) == []


def test_scores_that_no_metric_gives():
    best = dict(type='CheckpointHook', by_epoch=False)
    refused("default_hooks.checkpoint.save_best='mIOU' is no score of val_evaluator; did you mean mIoU",
            default_hooks=dict(checkpoint=dict(best, save_best=['mFscore', 'mIOU'])))
    refused("custom_hooks.0.monitor='accuracy' is no score of val_evaluator; it gives aAcc, mAcc, mFscore, mIoU, mPre",
            custom_hooks=[dict(type='EarlyStoppingHook', monitor='accuracy')])
    refused("param_scheduler.0.monitor='loss' is no score", param_scheduler=[dict(type='ReduceOnPlateauLR')])
    for name in ('auto', 'mIoU', ['mIoU', 'mPrecision']):
        assert check(default_hooks=dict(checkpoint=dict(best, save_best=name))) == []
    assert check(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='mIoU')]) == []  # after each validation


@pytest.mark.parametrize(('evaluator', 'names'), [
    (dict(type='mmpretrain.Accuracy', topk=(1, 5)), {'accuracy/top1', 'accuracy/top5'}),
    (dict(type='mmpretrain.Accuracy', topk=1, thrs=(0., 0.5), prefix='a'), {'a/top1_thr-0.00', 'a/top1_thr-0.50'}),
    ([dict(type='mmpretrain.SingleLabelMetric', items=('recall', )), dict(type='DumpResults', out_file_path='a.pkl')],
     {'single-label/recall'}),
    (dict(type='Evaluator', metrics=[dict(type='IoUMetric', prefix='val')]), {'val/aAcc', 'val/mIoU', 'val/mAcc'}),
    (dict(type='IoUMetric', format_only=True, output_dir='maps'), set()),
    (dict(type='mmpretrain.RetrievalAveragePrecision'), None),  # it scores features, which a prediction lacks
    (dict(type='IoUMetric', iou_metrics=['mine']), None),
    (dict(type='NobodysMetric'), None),
], ids=lambda value: None if isinstance(value, set) else str(value))
def test_names_of_scores(evaluator, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert metric_names(evaluator, 'mmseg') == names
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['mmpretrain/resnet/resnet50_8xb32_in1k.py',
                                  'mmseg/fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'])
def test_stock_configs_pass(name):
    config = stock_config(name)
    assert [check_course(config, Context(job)) for job in (TRAIN, TEST)] == [[], []]


def test_shipped_configs_pass():
    for name in ('locatvit_upernet_ade20k', 'locatvit_imagenet', 'locatvit-nano_dino_digitscenes'):
        assert check_course(Config.fromfile(ROOT / 'configs' / f'{name}.py'), Context(TRAIN)) == []
