"""Every leaf is there, builds and runs forward; each says what is special about it, and nothing else differs."""

import json
import re
from functools import lru_cache

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmlocat.config import load_config
from tests.conftest import ROOT

NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
ARCHS = [f'{kind}{size}' for kind in ('vit', 'locatvit') for size in ('', '-tiny', '-small')]
ARMS = [f'{arch}{size}-{arm}' for size in ('', '-tiny')
        for arch, arms in (('vit', ('nopos', 'reg4', 'gap')), ('locatvit', ('gaug', 'prr', 'nopos', 'reg4')))
        for arm in arms]
SIBLINGS = [f'{locat}{arch}' for locat in ('', 'locat') for arch in (
    'vit-rope', 'vit-tiny-rope', 'swin', 'swin-tiny', 'jumbo', 'jumbo-tiny')]
RETRIEVED = [f'{locat}{arch}{size}' for locat in ('', 'locat') for arch in ('vit', 'swin', 'jumbo')
             for size in ('', '-tiny')]
VOTING = sorted({*RETRIEVED, *SIBLINGS})
HEADS = ('dpt', 'segmenter', 'setr', 'segformer', 'fpn', 'fcn')
CLASSES = dict(ade20k=150, pascal_context59=59, coco_stuff164k=171)
# The table of the paper, LocAtViT with 1000 classes.
PARAMETERS = {'-tiny': 5_719_756, '-small': 22_053_004, '': 86_569_996}
GAUG = 2340
CHANNELS = {'-tiny': 192, '-small': 384, '': 768}


@lru_cache(maxsize=None)
def _load(name):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


def load(name):
    return _load(name).copy()


def flatten(node, prefix=''):
    if isinstance(node, dict) and node:
        return {key: value for name, child in node.items()
                for key, value in flatten(child, f'{prefix}.{name}' if prefix else name).items()}
    return {prefix: node}


def difference(name, parent):
    """Returns what one config sets otherwise than another; None where it has nothing."""
    own, other = (flatten(load(n).to_dict()) for n in (name, parent))
    return {key: own.get(key) for key in {*own, *other} if own.get(key) != other.get(key)}


def test_every_row_of_the_table_has_its_configs():
    expected = {f'{arch}_{head}_{data}' for arch in ARCHS for head in ('linear', 'upernet') for data in CLASSES}
    expected |= {f'{arch}_{data}' for arch in ARCHS for data in ('imagenet', 'mini-imagenet')}
    expected |= {f'{arm}_{rest}' for arm in ARMS for rest in ('imagenet', 'linear_ade20k')}
    expected |= {f'{arm}_linear_{data}' for arm in ARMS if 'reg4' in arm for data in CLASSES}
    expected |= {f'locatvit-{name}_upernet_ade20k' for name in ('deit', 'dino-small', 'mae', 'clip', 'dinov2')}
    expected |= {f'{arch}_{data}' for arch in SIBLINGS for data in ('imagenet', 'mini-imagenet')}
    expected |= {f'{arm}_mini-imagenet' for arm in ARMS if 'reg4' in arm}
    expected |= {f'{arch}_linear_{data}' for arch in SIBLINGS for data in CLASSES}
    expected |= {f'{arch}_hummingbird_{data}' for arch in RETRIEVED for data in ('ade20k', 'voc2012')}
    expected |= {f'{arch}_knn_imagenet' for arch in VOTING}
    expected |= {f'{kind}-small_{head}_imagenet' for kind in ('vit', 'locatvit')
                 for head in ('dino', 'dino-knn', 'dino-linear')}
    expected |= {f'{arch}_{head}_ade20k' for arch in ('vit', 'locatvit') for head in (*HEADS, 'eomt')}
    expected |= {'vit_depth_nyu', 'locatvit_depth_nyu'}
    assert {name for name in NAMES if not name.endswith('scenes')} == expected and len(expected) == 215


def test_the_readme_lists_every_config_and_no_other():
    table = {}
    for row in re.findall(r'^\| `([\w-]+)` \|(.*)\|$', (ROOT / 'configs' / 'README.md').read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in row[1].split('|')]
        table.setdefault(row[0], set()).update(re.findall(r'`_([\w-]+)`', ' '.join(cells[1:])))
    listed = {f'{arch}_{rest}' for arch, rests in table.items() for rest in rests}
    assert listed == set(NAMES)


@lru_cache(maxsize=None)
def built(settings, scope, side):
    """Builds a model and runs it on an image of zeros: its weights are zeros too, for drawing them takes seconds.

    Returns the shape of the output, the number of parameters, and the names of those that are trained.
    """
    init_default_scope(scope)
    with torch.device('meta'):
        model = MODELS.build(json.loads(settings))
    model.eval()
    model.to_empty(device='cpu')
    for value in [*model.parameters(), *model.buffers()]:
        value.data.zero_()
    with torch.no_grad():
        out = model(torch.zeros(1, 3, side, side))
    assert all(part.isfinite().all() for part in (out if isinstance(out, tuple) else (out, )))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    out = out if isinstance(out, torch.Tensor) else out[-1]
    return out.shape, sum(p.numel() for p in model.parameters()), trained, model.backbone.kernel


def build(name):
    config = load(name)
    model = config.model.to_dict()
    model['backbone'].pop('init_cfg', None)
    if 'data_preprocessor' in config:
        model['data_preprocessor'] = config.data_preprocessor.to_dict()
    return built(json.dumps(model, sort_keys=True), config.default_scope, 36 if 'digitscenes' in name else 64)


# Of siblings in Base one head is enough: they take as long as all others together. Of what Mini-ImageNet changes in
# variants, the test below knows; the plain ViT's other heads are those of LocAtViT. The
# meta device cannot build Segmenter's, which tests/models/test_heads.py does.
@pytest.mark.parametrize('name', [name for name in NAMES if not re.search(
    '_dino|_hummingbird|_knn|(rope|reg4|swin|jumbo)(-tiny)?_mini|^(locat)?(jumbo|swin|vit-rope)_linear_(coco|pascal)|'
    f'^vit_({"|".join(HEADS)}|depth)_|_segmenter_', name)])
def test_builds_and_runs_forward(name):
    arch, rest = name.split('_', 1)
    shape, _, trained, kernel = build(name)
    plain = not arch.startswith('locat') or arch.endswith('-prr')
    assert (kernel is None) == plain
    if kernel is not None:
        parts = dict(nano=6, swin=7, dinov2=37)
        side = next((parts[part] for part in parts if part in arch), 14)
        side = 12 if side == 6 and 'stampscenes' in name else side
        assert tuple(kernel.ref_grid) == (side, side)
    head, _, data = rest.rpartition('_')
    if not head:
        assert shape == (1, dict(digitscenes=10, stampscenes=9, imagenet=1000).get(data, 100))
    else:
        data = rest.split('_', 1)[1]
        assert shape[:2] == (1, dict(CLASSES, nyu=1, stampscenes=10).get(data, 11))  # a depth is one number
    parts = {part.split('.')[0] for part in trained}
    if rest.startswith('linear'):
        assert parts == {'decode_head'} and len(trained) == 5
    else:
        assert 'backbone' in parts and len(trained) > 40


# Siblings in Base take as long as all others together.
@pytest.mark.parametrize('name', [name for name in NAMES if re.search('_dino|_hummingbird|nano.*_knn', name) and not
                                  re.match('(locat)?(jumbo|swin)_', name)])
def test_what_has_no_head_of_classes_gives_features(name):
    shape = build(name)[0]
    channels = 64 if 'nano' in name else CHANNELS[re.search('-(tiny|small)|$', name.split('_')[0])[0]]
    if '_dino-linear' in name:
        assert shape == (1, 1000) and build(name)[2] == ['head.fc.weight', 'head.fc.bias']
    elif 'swin-nano_hummingbird' in name:
        assert shape == (1, 32, 18, 18)  # the last stage but one
    elif '_hummingbird' in name:
        side = 9 if 'nano' in name else 4  # a map of 36 px in patches of 4, of 64 px in patches of 16 (Swin's stride)
        assert shape == (1, 384 if 'swin-tiny' in name else channels, side, side)
        assert load(name).test_cfg.zero_is_unlabelled if name.endswith('ade20k') else True
    else:
        assert shape[0] == 1 and shape[-1] == channels * (6 if 'jumbo' in name else 1)


@pytest.mark.parametrize('arch', VOTING)
def test_knn_reads_what_the_head_of_the_pretraining_does_but_of_jumbo_before_prr(arch):
    found = difference(f'{arch}_knn_imagenet', f'{arch}_imagenet')
    # What only a training uses: weights come from the checkpoint.
    found = {key: value for key, value in found.items()
             if key.startswith('model.') and not re.search('train_cfg|drop_path_rate|head.init_cfg', key)}
    if arch.startswith('locatjumbo'):
        assert found.pop('model.backbone.out_type') is None  # the class tokens, joined
        assert {found.pop(f'model.neck.{key}') for key in ('type', 'num_heads', 'num_cls_tokens')} == {None}
    assert found == {}
    config = load(f'{arch}_knn_imagenet')
    assert config.test_cfg.type == 'KNNLoop' and config.data_preprocessor.mean[0] == 123.675


@pytest.mark.parametrize('arch', RETRIEVED)
def test_retrieval_reads_the_backbone_of_the_linear_protocol(arch):
    names = [f'{arch}_hummingbird_{data}' for data in ('ade20k', 'voc2012')]
    retrieved, linear = load(names[0]).model.backbone, load(f'{arch}_linear_ade20k').model.backbone
    assert retrieved == load(names[1]).model.backbone
    assert retrieved.final_norm is False and retrieved.get('out_indices', -1) == (-2 if 'swin' in arch else -1)
    apart = ('out_indices', 'frozen_stages', 'init_cfg')
    assert {key: value for key, value in retrieved.items() if key not in apart} == {
        key: value for key, value in linear.items() if key not in apart}


@pytest.mark.parametrize('arch', SIBLINGS[:6])
def test_siblings_differ_from_their_plain_arms_in_the_method_alone(arch):
    for data in ('imagenet', 'mini-imagenet'):
        found = difference(f'locat{arch}_{data}', f'{arch}_{data}')
        assert found.pop('model.backbone.gaug') is True and found.pop('model.backbone.out_type') in ('raw', 'featmap')
        assert all(key.startswith(('model.neck.', 'find_unused_parameters')) for key in found)
    for data in CLASSES:
        assert difference(f'locat{arch}_linear_{data}', f'{arch}_linear_{data}') == {'model.backbone.gaug': True}


def test_a_variant_keeps_the_recipe_but_its_normalisation_and_decay():
    for arch, parent in (('vit-rope', 'vit'), ('jumbo', 'vit'), ('swin', 'vit-rope')):
        found = [key for key in difference(f'{arch}_imagenet', f'{parent}_imagenet') if key.startswith(
            ('optim_wrapper', 'param_scheduler', 'train_', 'val_', 'test_', 'auto_scale_lr', 'default_hooks'))]
        allowed = ('optim_wrapper.paramwise_cfg.custom_keys', 'train_pipeline', 'train_dataloader.dataset.pipeline')
        assert all(key.startswith(allowed) for key in found) and (arch != 'jumbo' or not found)
    mean = {arch: load(f'{arch}_imagenet').data_preprocessor.mean[0] for arch in ('vit', 'vit-rope', 'jumbo', 'swin')}
    assert mean == {'vit': 127.5, 'vit-rope': 123.675, 'jumbo': 127.5, 'swin': 123.675}
    free = {arch: [key for key, value in load(f'{arch}_imagenet').optim_wrapper.paramwise_cfg.custom_keys.items()
                   if value.decay_mult == 0] for arch in mean}
    assert '.rope.freqs' in free['vit-rope'] and '.relative_position_bias_table' in free['swin']
    for data, bias in (('imagenet', -6.9), ('mini-imagenet', -4.6)):  # about the logarithm of a class's share
        head = load(f'jumbo_{data}').model.head.init_cfg
        assert (head.val, head.bias) == (0., bias)


@pytest.mark.parametrize('arch', [arch for arch in (*SIBLINGS, *ARMS) if arch in SIBLINGS or 'reg4' in arch])
def test_mini_imagenet_changes_data_classes_and_length_alone(arch):
    parent = 'locatvit' if arch.startswith('locatvit') else 'vit'
    expected = difference(f'{parent}_mini-imagenet', f'{parent}_imagenet')
    found = difference(f'{arch}_mini-imagenet', f'{arch}_imagenet')
    assert found.pop('model.head.init_cfg.bias', -4.6) == -4.6
    assert found == expected and found['model.head.num_classes'] == 100


@pytest.mark.parametrize('size', ['-tiny', '-small', ''])
def test_parameters_are_the_papers(size):
    count = {name: build(f'{name}_imagenet')[1] for name in (f'vit{size}', f'locatvit{size}')}
    assert count[f'locatvit{size}'] == PARAMETERS[size] and count[f'vit{size}'] == PARAMETERS[size] - GAUG
    if size == '-small':
        return
    for arm, more in dict(nopos=-197, reg4=8, gap=0).items():  # 196 patches and the class token; 4 tokens, 4 positions
        assert build(f'vit{size}-{arm}_imagenet')[1] - count[f'vit{size}'] == more * CHANNELS[size]
    assert build(f'locatvit{size}-gaug_imagenet')[1] == count[f'locatvit{size}']
    assert build(f'locatvit{size}-prr_imagenet')[1] == count[f'vit{size}']


@pytest.mark.parametrize('size', ['-tiny', '-small', ''])
def test_twins_differ_in_the_method_alone(size):
    heads = {'-tiny': 3, '-small': 6, '': 12}[size]
    for data in ('imagenet', 'mini-imagenet'):
        assert difference(f'locatvit{size}_{data}', f'vit{size}_{data}') == {
            'model.backbone.gaug': True, 'model.backbone.out_type': 'raw', 'model.neck.type': 'PatchRefinement',
            'model.neck.num_heads': heads}
    published = {'-tiny': 'hf://sinahmr/locatvit_tiny', '': 'hf://sinahmr/locatvit_base'}.get(size)
    for rest in [f'{head}_{data}' for head in ('linear', 'upernet') for data in CLASSES]:
        found = difference(f'locatvit{size}_{rest}', f'vit{size}_{rest}')
        assert found.pop('model.backbone.gaug') is True and load(f'vit{size}_{rest}').checkpoint is None
        assert found == ({} if published is None else {
            'checkpoint': published, 'model.backbone.init_cfg.type': 'Pretrained',
            'model.backbone.init_cfg.checkpoint': published})


def test_sizes_change_the_model_alone():
    for size, rate in (('-tiny', 0.1), ('-small', 0.2)):
        channels = CHANNELS[size]
        model = {'model.backbone.arch': size[1:], 'model.backbone.drop_path_rate': rate}
        assert difference(f'vit{size}_imagenet', 'vit_imagenet') == {**model, 'model.head.in_channels': channels}
        assert difference(f'vit{size}_upernet_coco_stuff164k', 'vit_upernet_coco_stuff164k') == {
            **model, 'model.neck.in_channels': [channels] * 4, 'model.neck.out_channels': channels,
            'model.decode_head.in_channels': [channels] * 4, 'model.auxiliary_head.in_channels': channels}
        assert difference(f'vit{size}_linear_pascal_context59', 'vit_linear_pascal_context59') == {
            'model.backbone.arch': size[1:], 'model.decode_head.in_channels': channels}
    assert load('vit_imagenet').model.backbone.drop_path_rate == 0.4


@pytest.mark.parametrize('size', ['', '-tiny'])
def test_arms_change_what_they_are_named_for(size):
    pretraining = {
        f'locatvit{size}-gaug': (f'vit{size}', dict(gaug=True)),
        f'locatvit{size}-nopos': (f'locatvit{size}', dict(with_pos_embed=False)),
        f'locatvit{size}-reg4': (f'locatvit{size}', dict(num_registers=4)),
        f'vit{size}-nopos': (f'vit{size}', dict(with_pos_embed=False)),
        f'vit{size}-reg4': (f'vit{size}', dict(num_registers=4)),
        f'vit{size}-gap': (f'vit{size}', dict(out_type='avg_featmap', final_norm=False)),
    }
    for arm, (parent, expected) in pretraining.items():
        found = difference(f'{arm}_imagenet', f'{parent}_imagenet')
        assert found == {f'model.backbone.{key}': value for key, value in expected.items()}
    # What PRR adds is what tells LocAtViT from GAug alone.
    prr = difference(f'locatvit{size}_imagenet', f'locatvit{size}-gaug_imagenet')
    assert prr and difference(f'locatvit{size}-prr_imagenet', f'vit{size}_imagenet') == prr

    for arm in ARMS:
        if arm.startswith((f'vit{size}-', f'locatvit{size}-')) and ('-tiny' in arm) == bool(size):
            expected = dict(pretraining.get(arm, ('', {}))[1])
            for key in ('out_type', 'final_norm'):
                expected.pop(key, None)
            if arm.startswith('locatvit') and not arm.endswith('-prr'):
                expected['gaug'] = True
            found = difference(f'{arm}_linear_ade20k', f'vit{size}_linear_ade20k')
            assert found == {f'model.backbone.{key}': value for key, value in expected.items()}, arm


def test_heads_of_a_data_set_share_its_data():
    for data in CLASSES:
        linear, upernet = load(f'vit_linear_{data}'), load(f'vit_upernet_{data}')
        for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            assert linear[key].dataset == upernet[key].dataset
        side = 480 if data == 'pascal_context59' else 512
        assert linear.model.data_preprocessor.size == upernet.model.data_preprocessor.size == (side, side)


def test_a_leaf_is_a_few_lines():
    for name in NAMES:
        lines = (ROOT / 'configs' / f'{name}.py').read_text().splitlines()
        assert lines[0].startswith('# ') and len(lines) <= 20, name
