"""Configs and options that are wrong: each ends before the first iteration, in one line that says what to change."""

import copy
from functools import lru_cache

import pytest
import torch
from mmengine.config import Config

from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from mmlocat.training.config_types import check_types
from mmlocat.training.config_values import check_values
from mmlocat.training.context import TEST, TRAIN, Context
from tests.conftest import ROOT
from tests.helpers.stock import stock_config

SEGMENTOR = 'locatvit-nano_linear_digitscenes.py'
UPERNET = 'locatvit-nano_upernet_digitscenes.py'
CLASSIFIER = 'locatvit-nano_digitscenes.py'
STEP = 'train_dataloader.dataset.pipeline.0'
SLIDE = 'model.test_cfg.mode=slide'

# Config, options, and what the message must hold: the value, what was expected, or what to try.
OPTIONS = [
    # options of our own
    (SEGMENTOR, 'checks.dta=False', "checks.dta: checks takes no 'dta'; did you mean data"),
    (SEGMENTOR, 'checks.data=no', "checks.data must be True or False, got 'no'"),
    # numbers
    (SEGMENTOR, 'optim_wrapper.optimizer.lr=fast', "optimizer.lr must be a number, 0 or more, got 'fast'"),
    (SEGMENTOR, 'optim_wrapper.optimizer.lr=-1', 'optimizer.lr must be a number, 0 or more, got -1'),
    (SEGMENTOR, 'optim_wrapper.optimizer.weight_decay=-0.1', 'weight_decay must be a number, 0 or more, got -0.1'),
    (SEGMENTOR, 'optim_wrapper.optimizer.betas=0.9', 'betas must be a list, got 0.9'),
    (SEGMENTOR, 'optim_wrapper.clip_grad.max_norm=big', "max_norm must be a positive number, got 'big'"),
    (SEGMENTOR, 'optim_wrapper.accumulative_counts=0', 'accumulative_counts must be a positive whole number, got 0'),
    (SEGMENTOR, 'auto_scale_lr.base_batch_size=zero', "base_batch_size must be a positive whole number, got 'zero'"),
    (SEGMENTOR, 'train_cfg.max_iters=0', 'train_cfg.max_iters must be a positive whole number, got 0; change it with '
                                         '--cfg-options train_cfg.max_iters=...'),
    (SEGMENTOR, 'train_cfg.max_iters=many', "train_cfg.max_iters must be a positive whole number, got 'many'"),
    (SEGMENTOR, 'train_cfg.val_interval=0', 'val_interval must be a positive whole number, got 0'),
    (CLASSIFIER, 'train_cfg.max_epochs=-5', 'max_epochs must be a positive whole number, got -5'),
    (SEGMENTOR, 'train_dataloader.batch_size=0', 'train_dataloader.batch_size must be a positive whole number, got 0'),
    (SEGMENTOR, 'train_dataloader.batch_size=-2', 'batch_size must be a positive whole number, got -2'),
    (SEGMENTOR, 'val_dataloader.batch_size=2.5', 'val_dataloader.batch_size must be a positive whole number, got 2.5'),
    (SEGMENTOR, 'train_dataloader.num_workers=-1', 'num_workers must be a whole number, 0 or more, got -1'),
    (SEGMENTOR, 'train_dataloader.persistent_workers=True', 'persistent_workers=True is about workers, but '
                                                            'train_dataloader.num_workers=0; set train_dataloader.per'),
    (SEGMENTOR, 'val_dataloader.prefetch_factor=2', 'but val_dataloader.num_workers=0; set .*prefetch_factor=None too'),
    (SEGMENTOR, 'default_hooks.checkpoint.interval=often', 'checkpoint.interval must be a whole number.*often'),
    (SEGMENTOR, 'param_scheduler.0.eta_max=high', "param_scheduler.0.eta_max must be a number, 0 or more, got 'high'"),
    (SEGMENTOR, 'param_scheduler.0.total_steps=0', 'total_steps must be a positive whole number, got 0'),
    (SEGMENTOR, 'param_scheduler.0.total_steps=4', 'total_steps=4 leaves OneCycleLR no rise or no fall'),
    (CLASSIFIER, 'param_scheduler.0.end=-1', 'end should be larger than begin'),
    # what would never come
    (SEGMENTOR, 'param_scheduler.0.by_epoch=True', 'OneCycleLR counts epochs, but train_cfg counts iterations'),
    (SEGMENTOR, 'default_hooks.checkpoint.by_epoch=True', 'checkpoint.interval=200 counts epochs .*by_epoch=False'),
    (SEGMENTOR, 'default_hooks.checkpoint.save_best=mIou', "save_best='mIou' is no score .*; did you mean mIoU"),
    (CLASSIFIER, 'default_hooks.checkpoint.save_best=top1', "='top1' is no score .*; did you mean accuracy/top1"),
    (CLASSIFIER, 'train_dataloader.sampler.type=InfiniteSampler', 'has no end, so that an epoch would have none: set '
                                                                  'train_dataloader.sampler.type=DefaultSampler'),
    # names of parts
    (SEGMENTOR, 'optim_wrapper.optimizer.type=AdamWW', "there is no 'AdamWW'; did you mean AdamW"),
    (SEGMENTOR, 'optim_wrapper.type=OptimWraper', "there is no 'OptimWraper'; did you mean OptimWrapper"),
    (SEGMENTOR, 'optim_wrapper.constructor=Layers', "optim_wrapper.constructor: there is no 'Layers'"),
    (SEGMENTOR, 'param_scheduler.0.type=OneCycle', "there is no 'OneCycle'; did you mean One"),
    (SEGMENTOR, 'train_cfg.type=IterLoop', "train_cfg.type: there is no 'IterLoop'; did you mean"),
    (SEGMENTOR, 'train_dataloader.sampler.type=Infinit', "there is no 'Infinit'; did you mean InfiniteSampler"),
    (SEGMENTOR, 'train_dataloader.dataset.type=DigitScene', "there is no 'DigitScene'; did you mean DigitScenes"),
    (SEGMENTOR, f'{STEP}.type=LoadImage', "there is no 'LoadImage'; did you mean LoadImageFromFile"),
    (SEGMENTOR, 'default_hooks.checkpoint.type=CheckpointHok', "no 'CheckpointHok'; did you mean CheckpointHook"),
    (SEGMENTOR, 'default_hooks.checkpont.interval=3', "default_hooks takes no 'checkpont'; did you mean checkpoint"),
    (SEGMENTOR, 'default_hooks.mine.interval=3', 'default_hooks.mine has no type; name a hook with'),
    (SEGMENTOR, 'val_evaluator.type=IoU', "val_evaluator.type: there is no 'IoU'; did you mean IoUMetric"),
    (SEGMENTOR, 'val_evaluator.iou_metrics=[mIOU]', "iou_metrics.0 must be one of mIoU, mDice, mFscore, got 'mIOU'"),
    (SEGMENTOR, 'visualizer.type=Vis', "there is no 'Vis'; did you mean"),
    (SEGMENTOR, 'model.type=EncodeDecode', "model.type: there is no 'EncodeDecode'; did you mean EncoderDecoder"),
    (SEGMENTOR, 'model.backbone.type=LocatVit', "there is no 'LocatVit'; did you mean LocAtViT"),
    (SEGMENTOR, 'model.decode_head.type=FCN', "there is no 'FCN'; did you mean .*FCNHead"),
    (SEGMENTOR, 'model.decode_head.loss_decode.type=CrossEntropy', 'did you mean .*CrossEntropyLoss'),
    (SEGMENTOR, 'model.decode_head.norm_cfg.type=GNN', "model.decode_head.norm_cfg.type: there is no 'GNN'"),
    (CLASSIFIER, 'model.neck.type=PRR', "there is no 'PRR'; is its module in custom_imports"),
    (SEGMENTOR, 'log_level=LOUD', "log_level must be one of CRITICAL, .*, got 'LOUD'"),
    (SEGMENTOR, 'env_cfg.mp_cfg.mp_start_method=thread', "must be one of fork, spawn, forkserver, got 'thread'"),
    (SEGMENTOR, f'{STEP}.imdecode_backend=opencv', "imdecode_backend must be one of cv2, .*, got 'opencv'"),
    # mistyped keys
    (SEGMENTOR, 'train_cfg.max_iter=5', "IterBasedTrainLoop takes no 'max_iter'; did you mean max_iters"),
    (SEGMENTOR, 'optim_wrapper.optimizer.learning_rate=1', "AdamW takes no 'learning_rate'; it takes .* lr,"),
    (SEGMENTOR, 'param_scheduler.0.totalsteps=9', "OneCycleLR takes no 'totalsteps'; did you mean total_steps"),
    (SEGMENTOR, 'train_dataloader.batchsize=2', "train_dataloader takes no 'batchsize'; did you mean batch_size"),
    (SEGMENTOR, 'train_dataloader.samples_per_gpu=4', "train_dataloader takes no 'samples_per_gpu'; it takes batch_"),
    (CLASSIFIER, 'train_cfg.maxepochs=3', "EpochBasedTrainLoop takes no 'maxepochs'; did you mean max_epochs"),
    (SEGMENTOR, f'{STEP}.to_float=True', "LoadImageFromFile takes no 'to_float'; did you mean to_float32"),
    (SEGMENTOR, 'default_hooks.checkpoint.intervall=3', "CheckpointHook takes no 'intervall'; did you mean interval"),
    (SEGMENTOR, 'model.backbone.drop_path=0.1', "LocAtViT takes no 'drop_path'; did you mean drop_path_rate"),
    (SEGMENTOR, 'model.test_cfg.moode=slide', "test_cfg takes no 'moode'; did you mean mode"),
    (SEGMENTOR, 'randomness.sed=1', "randomness takes no 'sed'; did you mean seed"),
    (SEGMENTOR, 'custom_imports.imports=[not_there]', 'comes too late: .* write custom_imports into a config'),
    # parts that do not fit
    (SEGMENTOR, 'model.backbone.arch=deit-tiny', r'decode_head \(in_channels=64, .*does not fit .*\(4, 192, 9, 9\)'),
    (SEGMENTOR, 'model.backbone.out_type=raw', r'decode_head .* does not fit .*\(4, 82, 64\).*out_type'),
    (SEGMENTOR, 'model.backbone.in_channels=4', r'takes images of shape \(B, 4, .*got \(4, 3, 36, 36\)'),
    (SEGMENTOR, 'model.decode_head.in_channels=96', r'decode_head \(in_channels=96, in_index=0\) does not fit'),
    (SEGMENTOR, 'model.decode_head.in_index=2', 'in_index=2.* does not fit .*: tuple index out of range; check'),
    (UPERNET, 'model.neck.in_channels=[64,64,64]', r'model.neck \(in_channels=\[64, 64, 64\]\) does not fit'),
    (UPERNET, 'model.auxiliary_head.in_index=4', 'model.auxiliary_head .* does not fit'),
    (UPERNET, 'train_dataloader.batch_size=1', 'BatchNorm in model.decode_head cannot train with .*batch_size=1: .*'
                                               'a batch of 2 or more'),
    (UPERNET, 'model.backbone.attention_backend=triton model.backbone.layer_cfgs.attn_drop_rate=0.1',
     r"attention back-end 'triton' cannot run here: .* no dropout \(dropout_p=0.1\); these can: dense"),
    (CLASSIFIER, 'model.head.in_channels=32', r'model.head \(in_channels=32\) does not fit .*\(4, 64\)'),
    (CLASSIFIER, 'model.neck.num_heads=3', 'model.neck: num_heads=3 does not divide the 64 channels'),
    (CLASSIFIER, 'model.backbone.out_type=cls_token', "set the backbone's out_type to 'raw' or 'featmap'"),
    (SEGMENTOR, 'model.data_preprocessor.std=[127.5,127.5,0]', 'std.2 must be a positive number, got 0'),
    (SEGMENTOR, SLIDE, "mode='slide' needs model.test_cfg.crop_size and .*got None and None"),
    (SEGMENTOR, f'{SLIDE} model.test_cfg.crop_size=(16,16) model.test_cfg.stride=(24,24)',
     r'a stride beyond the crop leaves gaps between windows; got \(16, 16\) and \(24, 24\)'),
    (SEGMENTOR, 'model.test_cfg.mode=slid', "model.test_cfg.mode must be one of whole, slide, .*, got 'slid'"),
    # classes
    (SEGMENTOR, 'model.decode_head.num_classes=5', 'DigitScenesSegmentation has 11 classes, the model predicts 5; set '
                                                   'model.decode_head.num_classes=11'),
    (UPERNET, 'model.auxiliary_head.num_classes=5', 'predicts 5; set model.auxiliary_head.num_classes=11'),
    (SEGMENTOR, 'model.decode_head.num_classes=0', 'num_classes must be a positive whole number, got 0'),
    (CLASSIFIER, 'model.head.num_classes=5', 'data_preprocessor.num_classes=10, but model.head.num_classes=5'),
    (CLASSIFIER, 'model.head.num_classes=5 data_preprocessor.num_classes=5',
     'DigitScenesClassification has 10 classes, the model predicts 5; set model.head.num_classes=10'),
    (CLASSIFIER, 'val_evaluator.topk=(1,50)', r'val_evaluator.topk.1 asks for top-50 accuracy of 10 classes'),
    (SEGMENTOR, 'train_dataloader.dataset.split=trian', "unknown split 'trian' of DigitScenes; choose one of train"),
]

BASE = f"_base_ = '{ROOT / 'configs' / SEGMENTOR}'\n"
FILES = [  # what a config file holds
    ('model = dict(\n', 'cannot be read: SyntaxError'),
    ("_base_ = './nothing.py'\n", 'cannot be read: FileNotFoundError: .*nothing.py'),
    (BASE + "custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)\n",
     'cannot be read: ImportError: .*no_such_module'),
    (BASE + 'model = dict(backbone=NANO)\n', "cannot be read: NameError: name 'NANO' is not defined"),
    (BASE + 'model = 5\n', 'model must be a dict, got 5'),
    (BASE + 'train_dataloader = None\n', 'the config has no train_dataloader; take it from a config that has one'),
    (BASE + "custom_hooks = [dict(type='EMAHok')]\n", "custom_hooks.0.type: there is no 'EMAHok'; .*EMAHook"),
    (BASE + "optim_wrapper = dict(_delete_=True, optimizer=dict(type='SGD', lr=0.1), clipgrad=dict(max_norm=1))\n",
     "OptimWrapper takes no 'clipgrad'; did you mean clip_grad"),
    (BASE + 'val_cfg = dict(_delete_=True, fp_16=True)\n', "ValLoop takes no 'fp_16'; did you mean fp16"),
    (BASE + "_crop = [dict(type='LoadImageFromFile'), dict(type='RandomCrop', crop_size=0)]\n"
            'train_dataloader = dict(dataset=dict(pipeline=_crop))\n', 'pipeline.1.crop_size must be a positive whole'),
    (BASE + "_crop = [dict(type='LoadImageFromFile'), dict(type='RandomCrop', crop_size=(64, 64))]\n"
            'train_dataloader = dict(dataset=dict(pipeline=_crop))\n',
     r'crop_size.0=64 is larger than model.data_preprocessor.size=\(36, 36\)'),
]


READ = lru_cache(maxsize=None)(Config.fromfile)


@pytest.fixture(autouse=True)
def _quick_configs(monkeypatch):
    """Each config is read once: reading takes longer than all else."""
    monkeypatch.setattr('mmlocat.config.Config.fromfile', lambda path: copy.deepcopy(READ(path)))


def refused(config, options, message, data_root, folder):
    roots = [f'{split}_dataloader.dataset.data_root={data_root}' for split in ('train', 'val')]
    with pytest.raises((ValueError, TypeError, RuntimeError, FileNotFoundError), match=message) as caught:
        training_job([str(config), '--work-dir', str(folder / 'w'), '--allow-random-backbone', '--cfg-options', *roots,
                      *(() if 'batch_size' in ' '.join(options) else ('train_dataloader.batch_size=4', )), *options])
    assert '\n' not in str(caught.value)
    assert not list(folder.glob('w/*.pth'))


@pytest.mark.parametrize(('config', 'options', 'message'), OPTIONS, ids=[row[1].split('.')[-1] for row in OPTIONS])
def test_an_option_that_is_wrong(config, options, message, digit_scenes, tmp_path, monkeypatch):
    if options.endswith('=flex'):  # GPUs can train with it
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    refused(ROOT / 'configs' / config, options.split(), message, digit_scenes, tmp_path)


@pytest.mark.parametrize(('text', 'message'), FILES)
def test_a_file_that_is_wrong(text, message, digit_scenes, tmp_path):
    (tmp_path / 'mine.py').write_text(text)
    options = [] if 'train_dataloader = None' not in text else ['train_dataloader=None']
    if options:
        with pytest.raises(ValueError, match=message):
            training_job([str(tmp_path / 'mine.py'), '--work-dir', str(tmp_path / 'w')])
    else:
        refused(tmp_path / 'mine.py', [], message, digit_scenes, tmp_path)


def test_how_many_there_are(figure):
    rows = len(OPTIONS) + len(FILES)
    assert rows >= 80 and len({row[:2] for row in OPTIONS}) == len(OPTIONS)
    figure('Any input', 'wrong configs and options, each refused before training in one line', rows)


def test_a_test_needs_no_optimizer_but_its_own_parts(digit_scenes, tmp_path):
    for option, message in (('optim_wrapper.optimizer.type=Mine', 'checkpoint none.pth does not exist'),
                            ('test_evaluator.type=IoU', "there is no 'IoU'; did you mean IoUMetric"),
                            ('test_dataloader.batch_size=0', 'test_dataloader.batch_size must be a positive')):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            make_test_job([str(ROOT / 'configs' / SEGMENTOR), 'none.pth', '--work-dir', str(tmp_path),
                           '--cfg-options', option])


@pytest.mark.parametrize(('option', 'message'), [
    ({'batchsize': 3}, "test_cfg.memory_dataloader.batchsize: .* takes no 'batchsize'; did you mean batch_size"),
    ({'dataset.type': 'DigitScene'}, "memory_dataloader.dataset.type: there is no 'DigitScene'; did you mean DigitSc"),
    ({'dataset.pipeline.0.type': 'LoadImage'}, "memory_dataloader.dataset.pipeline.0.type: there is no 'LoadImage'"),
])
def test_the_memory_of_a_test_is_a_part_too(option, message):
    config = copy.deepcopy(READ(ROOT / 'configs' / 'vit-nano_dino-knn_digitscenes.py'))
    assert check_types(config, Context(TEST)) == []
    config.merge_from_dict({f'test_cfg.memory_dataloader.{key}': value for key, value in option.items()})
    with pytest.raises(ValueError, match=message):
        check_types(config, Context(TEST))


@pytest.mark.parametrize('options', [
    {'optim_wrapper.clip_grad': dict(type='norm', max_norm=1.0)},
    {'optim_wrapper.clip_grad': dict(type='value', clip_value=0.2)},
    *({'train_dataloader.dataset.pipeline': [dict(type=name, transforms=[dict(type='Blur')])]}
      for name in ('Albu', 'Albumentations')),
    {'data_preprocessor.batch_augments': dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix')])},
    {'custom_hooks': [dict(type='SwitchRecipeHook', schedule=[dict(batch_augments=dict(type='ResizeMix'))])]},
    {'custom_hooks': [dict(type='ProfilerHook', on_trace_ready=dict(type='tb_trace'))]},
    {'train_dataloader.disable_subprocess_warning': True},
    {'param_scheduler': [dict(type='OneCycleLR', eta_max=0.1, total_steps=4, three_phase=True)]},
    {'param_scheduler': [dict(type='other.Cycle', total_steps=4)]},  # of a library that is not installed
], ids=lambda options: next(iter(options)))
def test_types_that_no_registry_knows_pass_where_they_belong(options):
    config = copy.deepcopy(READ(ROOT / 'configs' / CLASSIFIER))
    for key in options.keys() & {'custom_hooks', 'param_scheduler'}:
        config.pop(key, None)
    config.merge_from_dict(options)
    assert check_types(config, Context(TRAIN)) == check_values(config, Context(TRAIN)) == []


@pytest.mark.parametrize('name', [
    'mmseg/hrnet/fcn_hr18_4xb4-80k_isaid-896x896.py',  # dropout_ratio=-1
    'mmseg/vpd/vpd_sd_4xb8-25k_nyu-480x480.py',  # a depth estimator's own test mode
    'mmseg/maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py',  # arguments for a head of MMDetection
    'mmpretrain/vision_transformer/vit-base-p16_32xb128-mae_in1k.py',
])
def test_stock_configs_pass(name):
    config = stock_config(name)
    for job in (TRAIN, TEST):
        assert check_types(config, Context(job)) == check_values(config, Context(job)) == []
