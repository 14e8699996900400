"""A sibling of LocAtViT, one file and one line of registration, gets what LocAtViT gets, and nobody knows its class."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mmlocat.analysis.flops import count
from mmlocat.attention.vit.position import resize_position_embedding
from mmlocat.checkpoints import CheckpointError, read_checkpoint
from mmlocat.experiments.leaderboard.board import add_costs, build_board
from mmlocat.experiments.leaderboard.output import section_markdown
from mmlocat.experiments.leaderboard.runs import gather
from mmlocat.models import LocAtViT
from mmlocat.models.backbones import base
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import build_model, load_model
from tests.conftest import NANO
from tests.helpers.records import put
from tests.helpers.toy_sibling import ToySibling

WIDTH, BLOCKS = 32, 2


def config(kind='classifier', **backbone):
    """A classifier of MMPretrain or a segmentor of MMSegmentation around the sibling."""
    backbone = dict(type='mmpretrain.ToySibling', **backbone)
    preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
    if kind == 'classifier':
        return Config(dict(default_scope='mmpretrain', data_preprocessor=dict(preprocessor, num_classes=5), model=dict(
            type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=WIDTH, loss=dict(type='CrossEntropyLoss')))))
    return Config(dict(default_scope='mmseg', model=dict(
        type='EncoderDecoder', data_preprocessor=dict(type='SegDataPreProcessor', **preprocessor), backbone=backbone,
        decode_head=dict(type='FCNHead', in_channels=WIDTH, channels=8, num_convs=1, num_classes=3, in_index=0),
        train_cfg=dict(), test_cfg=dict(mode='whole'))))


def runner(folder, iterations, resume=False):
    """MMEngine's own Runner, with layer-wise learning rates and the statistics of the Gaussians."""
    torch.manual_seed(0)
    images = [torch.randint(256, (3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
              for i in range(4)]
    dataset = [dict(inputs=image, data_samples=DataSample().set_gt_label(i)) for i, image in enumerate(images)]
    init_default_scope('mmpretrain')
    return Runner(
        model=config().model, data_preprocessor=config().data_preprocessor, work_dir=str(folder), resume=resume,
        train_dataloader=dict(dataset=dataset, batch_size=2, num_workers=0,
                              sampler=dict(type='InfiniteSampler', shuffle=False)),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.),
                           constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.5)),
        custom_hooks=[dict(type='GaussianStatsHook', interval=1)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        randomness=dict(seed=1), default_scope='mmpretrain', experiment_name=f'{folder.parent.name}-{folder.name}')


def test_it_trains_with_statistics_and_rates_and_resumes(tmp_path):
    first = runner(tmp_path / 'w', 2)
    first.train()
    lines = [json.loads(line) for path in (tmp_path / 'w').glob('*/vis_data/scalars.json') for line in path.open()]
    records = [line for line in lines if 'gaug/block01/head01/sigma' in line]
    assert [line['step'] for line in records] == [1, 2] and 'gaug/block02/head02/alpha_std' in records[0]
    names = {id(parameter): name for name, parameter in first.model.named_parameters()}
    rates = {names[id(group['params'][0])]: group['lr'] / 0.01 for group in first.optim_wrapper.optimizer.param_groups}
    expected = {'stem.0.weight': 0.125, 'where': 0.125, 'blocks.0.spotlight.log_var.weight': 0.25,
                'blocks.1.mlp.1.weight': 0.5, 'last.weight': 1}
    assert {name: rates[f'backbone.{name}'] for name in expected} == pytest.approx(expected)
    assert rates['head.fc.weight'] == 1
    resumed = runner(tmp_path / 'w', 4, resume=True)
    resumed.train()
    whole = runner(tmp_path / 'whole', 4)
    whole.train()
    states = resumed.model.state_dict(), whole.model.state_dict()
    assert resumed.iter == 4 and all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert not torch.equal(states[1]['backbone.blocks.1.spotlight.log_alpha.weight'],
                           first.model.state_dict()['backbone.blocks.1.spotlight.log_alpha.weight'])


@pytest.mark.parametrize('wrapper', ['', 'module.', 'backbone.'])
def test_its_weights_come_in_by_the_strict_way(wrapper, tmp_path, monkeypatch):
    source, said = ToySibling(), []
    monkeypatch.setattr(base, 'print_log', lambda text, logger: said.append(text))
    state = {wrapper + name: value for name, value in source.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.bias': torch.ones(1)}), tmp_path / 'x.pth')
    target = ToySibling(img_size=48, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth')))
    target.init_weights()
    assert torch.equal(target.blocks[1].mlp[1].weight, source.blocks[1].mlp[1].weight)
    assert torch.equal(target.where, resize_position_embedding(source.where, (6, 6), (12, 12), 0))
    assert target.ref_grid == (6, 6) and {module.kernel for module in target.gaug_modules()} == {target.kernel}
    total = len(list(source.parameters()))
    assert said == [f'Weights of ToySibling (own names): {total} of {total} matched.\n'
                    '  resized: where from a grid of (6, 6) to (12, 12)\n'
                    '  not of the backbone, which does not matter: head\n'
                    "  reference grid (6, 6), that of the checkpoint's position embedding, instead of (12, 12) from "
                    'img_size']


def test_the_grid_of_its_pretraining_travels_with_the_weights(tmp_path):
    source = ToySibling()
    source.replace_kernel((3, 3))
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    target = ToySibling()
    target.load_state_dict(read_checkpoint(tmp_path / 'x.pth').state_dict)
    assert target.ref_grid == (3, 3)


@pytest.mark.parametrize(('change', 'target', 'message'), [
    (lambda s: s.pop('blocks.0.mlp.1.bias'), {}, 'lacks 1 of 35 weights of ToySibling: blocks.0.mlp.1.bias'),
    (lambda s: s.update({'blocks.2.mlp.1.bias': torch.ones(1)}), {}, 'that this ToySibling has no place for: blocks.2'),
    (lambda s: None, dict(gaug=False), 'is of a ToySibling with GAug, this model is a plain one; set gaug'),
    (lambda s: [s.pop(name) for name in list(s) if 'spotlight' in name], {}, 'becomes a ToySibling by gaug_init='),
    (lambda s: s.update(where=torch.ones(1, 39, 32)), {}, 'where of the checkpoint has 39 entries, which is not a sq'),
])
def test_what_does_not_fit_is_an_error(change, target, message):
    state = dict(ToySibling().state_dict())
    change(state)
    with pytest.raises((RuntimeError, ValueError), match=message):
        ToySibling(**target).load_state_dict(state, strict=False)


def test_its_plain_baseline_becomes_it_by_the_identity_start():
    plain, model = ToySibling(gaug=False).eval(), ToySibling(gaug_init='identity').eval()
    assert plain.ref_grid is None and find_backbone(plain) is plain
    model.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 30, 44)
    with torch.no_grad():
        assert (model(images)[0] - plain(images)[0]).abs().max() < 1e-4 < plain(images)[0].abs().max()


def test_it_is_counted_with_what_gaug_adds():
    gaug, plain = (count(config(gaug=flag), (24, 24)) for flag in (True, False))
    patches, heads, dims = 36, 2, WIDTH // 2
    added = BLOCKS * heads * patches * (3 * dims + 6 + 6 + 6 + 6 * 6)
    assert gaug.macs - plain.macs == added
    assert gaug.parameters - plain.parameters == BLOCKS * (3 * dims + 3)


def test_it_stands_in_a_table_with_its_own_costs(tmp_path):
    classifier = config().to_dict()
    put(tmp_path, 'locattoy-nano_digitscenes', 0, 91.5, base='locatvit-nano_digitscenes', model=classifier['model'])
    board = build_board(gather([tmp_path]))
    add_costs(board)
    row, = board
    assert (row.mean, row.parameters) == (91.5, sum(p.numel() for p in build_model(config()).parameters()))
    assert f'| 91.50 | 1 | {row.parameters:,} |' in section_markdown(board)


@pytest.mark.parametrize('kind', ['classifier', 'segmentor'])
def test_a_model_around_it_is_built_and_loaded_whole(kind, tmp_path):
    settings = config(kind)
    source = build_model(settings)
    assert find_backbone(source) is source.backbone
    torch.save(dict(state_dict=source.state_dict(), meta=dict(epoch=1)), tmp_path / 'x.pth')
    model = load_model(settings, tmp_path / 'x.pth')
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())
    larger = load_model(config(kind, img_size=48), tmp_path / 'x.pth')  # its position embedding is resized
    assert larger.backbone.ref_grid == (6, 6)
    with pytest.raises(RuntimeError, match='does not fit the model .*: 8 weights are in the checkpoint alone'):
        load_model(config(kind, gaug=False), tmp_path / 'x.pth')


@pytest.mark.parametrize('part', ['model', pytest.param('backbone', marks=pytest.mark.soak)])
def test_it_is_exported(part, tmp_path):
    if not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} cannot record graphs for images of any size')
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason='the extra mmlocat[deploy] is not installed')
    from mmlocat.deploy.export import export_onnx
    settings = config('segmentor', depth=1)
    torch.save(build_model(settings).state_dict(), tmp_path / 'x.pth')
    result = export_onnx(settings, str(tmp_path / 'x.pth'), tmp_path / 'x.onnx', part=part)
    assert result.task == ('segmentor' if part == 'model' else part) and len(result.differences) == 5
    assert result.outputs == (['logits'] if part == 'model' else ['block_0'])
    with pytest.raises(CheckpointError, match='x.pth: the checkpoint lacks'):
        export_onnx(config('segmentor', depth=3), str(tmp_path / 'x.pth'), tmp_path / 'y.onnx', part='backbone')


def test_the_family_is_known_by_what_it_answers():
    assert all(find_backbone(model) is model for model in (ToySibling(), LocAtViT(NANO, 24, 4)))
    assert find_backbone(torch.nn.Linear(1, 1)) is find_backbone(None) is None
