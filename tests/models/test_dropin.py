"""LocAtViT inside copies of stock OpenMMLab configs, trained by the libraries' own Runners.

A copy keeps the stock optimizer, pipelines, neck and head; its data are DigitScenes, its crop is small and it stops
after two iterations. Where no stock ViT config has a head or a neck, the copy gets that one. Then one thing
changes: the backbone's dict.
"""

from pathlib import Path

import mmpretrain
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmlocat.models import LocAtViT
from tests.conftest import ROOT
from tests.helpers.forked import run_python

MMSEG = Path(mmseg.__file__).parent / '.mim' / 'configs'
MMPRETRAIN = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
CROP = (64, 64)


def shrink(config, dataset, work_dir):
    """Makes a stock config a matter of seconds: two iterations on DigitScenes, no validation."""
    config.work_dir = str(work_dir)
    config.custom_imports = dict(imports=['mmlocat.models', 'mmlocat.datasets'])
    config.train_dataloader = dict(
        dataset=dataset, batch_size=2, num_workers=0, sampler=config.train_dataloader.sampler)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        config[key] = None
    config.custom_hooks = []
    return config


def run(config):
    """Trains; returns how far each parameter moved."""
    runner = Runner.from_cfg(config)
    runner._init_model_weights()  # train() calls it again, which changes nothing
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    return runner, {name: (value - before[name]).abs().max().item() for name, value in runner.model.named_parameters()}


def stock_segmentor(name, data_root, work_dir):
    config = Config.fromfile(MMSEG / name)
    config.model.pretrained = None
    config.model.data_preprocessor.size = CROP
    pipeline = config.train_pipeline
    for step in pipeline:
        if step['type'] == 'RandomCrop':
            step['crop_size'] = CROP
        if step['type'] in ('RandomResize', 'RandomChoiceResize'):
            step.clear()
            step.update(type='Resize', scale=(96, 96))
    dataset = dict(
        type='DigitScenesSegmentation', data_root=str(data_root), pipeline=pipeline, reduce_zero_label=True)
    config = shrink(config, dataset, work_dir)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    return config


def heads(config, kind, channels):
    if kind == 'feature2pyramid':
        config.model.neck = dict(type='Feature2Pyramid', embed_dim=channels, rescales=[4, 2, 1, 0.5])
        config.model.decode_head.channels = config.model.auxiliary_head.channels = 32  # the stock 512 take seconds
    elif kind == 'fcn':
        config.model.pop('neck')
        config.model.pop('auxiliary_head')
        config.model.decode_head = dict(
            type='FCNHead', in_channels=channels, in_index=3, channels=32, num_classes=150, norm_cfg=dict(type='BN'))
    elif kind == 'segformer':
        config.model.pop('auxiliary_head')
        config.model.decode_head = dict(
            type='SegformerHead', in_channels=[channels] * 4, in_index=[0, 1, 2, 3], channels=32, num_classes=150,
            norm_cfg=dict(type='BN'))
    return config


DEIT = 'vit/vit_deit-s16_mln_upernet_8xb2-160k_ade20k-512x512.py'


@pytest.mark.parametrize(('name', 'kind', 'channels'), [
    pytest.param(DEIT, 'upernet', 384, id='UPerHead-MultiLevelNeck'),
    pytest.param(DEIT, 'fcn', 384, id='FCNHead'),
    pytest.param(DEIT, 'segformer', 384, id='SegformerHead-MultiLevelNeck'),
    pytest.param(DEIT, 'feature2pyramid', 384, id='UPerHead-Feature2Pyramid'),
])
def test_stock_segmentation_config(name, kind, channels, digit_scenes, tmp_path):
    config = heads(stock_segmentor(name, digit_scenes, tmp_path), kind, channels)
    neck = (config.model.get('neck') or {}).get('type')
    assert neck == {'fcn': None, 'feature2pyramid': 'Feature2Pyramid'}.get(kind, 'MultiLevelNeck')
    assert config.optim_wrapper.optimizer.lr == 6e-5  # stock
    # The one change: the backbone's dict. Twelve thin blocks keep the test short.
    config.model.backbone = dict(
        type='LocAtViT',
        arch=dict(embed_dims=channels, num_layers=12, num_heads=6, feedforward_channels=64),
        img_size=224,
        out_indices=(2, 5, 8, 11),
        out_type='featmap',
        final_norm=False)
    runner, moved = run(config)
    assert isinstance(runner.model.backbone, LocAtViT) and runner.iter == 2
    head = {'fcn': 'FCNHead', 'segformer': 'SegformerHead'}.get(kind, 'UPerHead')
    assert type(runner.model.decode_head).__name__ == head
    for part in ('layers.0.attn.gaug.log_var.weight', 'layers.11.attn.gaug.log_alpha.weight', 'patch_embed'):
        assert max(value for key, value in moved.items() if f'backbone.{part}' in key) > 0


SWIN = 'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
THIN = dict(embed_dims=384, num_layers=4, num_heads=6, feedforward_channels=64)
# Layer scales as large as those of trained models: with the published start two steps of warm-up move nothing.
VIT = dict(arch=THIN, img_size=224, layer_scale_init_value=0.5)
SIBLINGS = {
    'RoPE': (DEIT, dict(VIT, type='LocAtViT', rope='mixed', with_pos_embed=False)),
    'LocAtJumbo': (DEIT, dict(VIT, type='LocAtJumbo', jumbo_mlp_ratio=0.1)),
    'LocAtSwin': (SWIN, dict(type='LocAtSwin', arch=dict(embed_dims=96, depths=(2, 1, 1, 1), num_heads=(3, 6, 12, 24)),
                             mlp_ratio=1)),
}


@pytest.mark.parametrize('sibling', SIBLINGS)
def test_stock_upernet_config_with_a_sibling(sibling, digit_scenes, tmp_path):
    """Swin's four stages go into the head as they are, the others' maps through the stock neck."""
    name, backbone = SIBLINGS[sibling]
    config = stock_segmentor(name, digit_scenes, tmp_path)
    config.model.decode_head.channels = config.model.auxiliary_head.channels = 32  # the stock 512 take seconds
    config.model.backbone = dict(backbone, out_indices=(0, 1, 2, 3), out_type='featmap', final_norm=False)
    runner, moved = run(config)
    assert type(runner.model.backbone).__name__ == backbone['type'] and runner.iter == 2
    assert type(runner.model.decode_head).__name__ == 'UPerHead' and runner.model.with_neck == (sibling != 'LocAtSwin')
    gaussians = [value for key, value in moved.items() if key.endswith('gaug.log_var.weight')]
    assert len(gaussians) == len(runner.model.backbone.blocks) and min(gaussians) > 0
    shared = dict(RoPE='rope.freqs', LocAtJumbo='jumbo_mlp.fc1.bias', LocAtSwin='layers.3.downsample.norm.bias')
    assert moved[f'backbone.{shared[sibling]}'] > 0


def test_stock_deit_config(digit_scenes, tmp_path):
    config = Config.fromfile(MMPRETRAIN / 'deit' / 'deit-tiny_4xb256_in1k.py')
    dataset = dict(type='DigitScenesClassification', data_root=str(digit_scenes), indices=4,
                   pipeline=config.train_dataloader.dataset.pipeline)
    config = shrink(config, dataset, tmp_path)
    config.train_cfg = dict(by_epoch=True, max_epochs=1)
    config.param_scheduler = []  # the stock one counts epochs from 20 on
    config.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    config.model.backbone.type = 'LocAtViT'  # the one change
    runner, moved = run(config)
    assert isinstance(runner.model.backbone, LocAtViT) and runner.iter == 2
    assert moved['backbone.layers.5.attn.gaug.log_var.weight'] > 0
    assert not [name for name, value in moved.items() if value == 0 and 'weight' in name]


@pytest.fixture(scope='module')
def trained(digit_scenes, tmp_path_factory):
    """Checkpoints of a classifier and a segmentor, as Runner writes them."""
    from mmlocat.training.cli import training_job
    root = tmp_path_factory.mktemp('trained')
    options = ['--cfg-options', *(f'{split}_dataloader.dataset.data_root={digit_scenes}' for split in
                                  ('train', 'val', 'test'))]
    configs = {name: ROOT / 'configs' / name for name in
               ('locatvit-nano_digitscenes.py', 'locatvit-nano_linear_digitscenes.py')}
    classifier, segmentor = configs.values()
    options += ['train_cfg.max_epochs=1']
    training_job([str(classifier), '--work-dir', str(root / 'c'), '--no-validate', *options])()
    options.pop()
    model = training_job([str(segmentor), '--work-dir', str(root / 's'), '--no-validate', '--allow-random-backbone',
                          *options, 'train_cfg.max_iters=2', 'param_scheduler.0.total_steps=2'])()
    return (classifier, root / 'c' / 'epoch_1.pth'), (segmentor, root / 's' / 'iter_2.pth'), model


def test_inferencers_take_it(trained):
    from mmpretrain import ImageClassificationInferencer
    from mmseg.apis import MMSegInferencer
    (classifier, weights), (segmentor, seg_weights), _ = trained
    init_default_scope('mmpretrain')  # in one process, the scope of the run before lingers
    image = np.random.default_rng(0).integers(0, 255, (50, 37, 3), dtype=np.uint8)

    inferencer = ImageClassificationInferencer(str(classifier), pretrained=str(weights), device='cpu')
    result = inferencer(image)[0]
    assert result['pred_class'] in inferencer.classes and len(inferencer.classes) == 10
    expected = torch.load(weights, weights_only=False)['state_dict']
    assert torch.equal(inferencer.model.state_dict()['backbone.pos_embed'], expected['backbone.pos_embed'])

    inferencer = MMSegInferencer(str(segmentor), weights=str(seg_weights), device='cpu')
    prediction = inferencer(image, return_datasamples=True).pred_sem_seg.data
    assert prediction.shape == (1, 50, 37) and prediction.max() <= 10


def test_a_published_segmentor_predicts_the_same_elsewhere(trained, tmp_path, clean_environment):
    """Trained, saved, published, and read by MMSegInferencer in a new process in another directory."""
    from mmseg.apis import MMSegInferencer

    from mmlocat.deploy.publish import publish
    _, (segmentor, weights), model = trained
    path, left_out = publish(str(weights), tmp_path / 'segmentor.pth')
    assert 'optimizer' in left_out and path.stat().st_size < weights.stat().st_size
    image = np.random.default_rng(0).integers(0, 255, (50, 37, 3), dtype=np.uint8)
    np.save(tmp_path / 'image.npy', image)
    code = ('import sys, numpy as np\nfrom mmseg.apis import MMSegInferencer\n'
            f"i = MMSegInferencer({str(segmentor)!r}, weights={path.name!r}, device='cpu')\n"
            "d = i(np.load('image.npy'), return_datasamples=True)\nnp.save('logits.npy', d.seg_logits.data.numpy())\n")
    run_python('-c', code, cwd=tmp_path, environment=clean_environment).check_returncode()
    inferencer = MMSegInferencer(str(segmentor), device='cpu')
    inferencer.model.load_state_dict(model.state_dict())  # what was trained, never saved
    expected = inferencer(image, return_datasamples=True).seg_logits.data.numpy()
    actual = np.load(tmp_path / 'logits.npy')
    assert actual.shape == expected.shape == (11, 50, 37) and np.ptp(expected) > 0
    assert np.array_equal(actual, expected)
