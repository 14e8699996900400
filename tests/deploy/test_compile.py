"""torch.export and torch.compile: the same numbers as without, and how often a graph breaks; PyTorch's own int8."""

import copy
import os
import shutil
import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmlocat.models import LocAtViT
from tests.conftest import NANO, ROOT, runs_here
from tests.helpers.random_models import random_model

pytestmark = pytest.mark.usefixtures('fresh_graphs')
SECTION = 'Exported and compiled'
needs_export = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason=f'PyTorch {torch.__version__} cannot record graphs for images of any size')
# Before is_exporting came, the compiler cannot trace inspect.getfullargspec, which mmcv's FFN calls through mmengine's
# deprecated_api_warning: every block breaks the graph there, and the numbers alone are compared.
WHOLE = hasattr(torch.compiler, 'is_exporting')
needs_operators = pytest.mark.skipif(
    not hasattr(torch.library, 'custom_op'),
    reason=f'PyTorch {torch.__version__} has no torch.library.custom_op (2.4 has); graphs break without it')


def backbone(layers=1, **options):
    model = LocAtViT(dict(NANO, num_layers=layers), 24, 4, out_type='featmap', **options)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def skip_without_compiler(backend):
    if backend == 'inductor' and not any(map(shutil.which, (os.environ.get('CXX', 'c++'), 'g++', 'clang++'))):
        pytest.skip('inductor compiles for CPUs with a C++ compiler, and there is none')


def graph_breaks():
    return sum(torch._dynamo.utils.counters['graph_break'].values())


@needs_export
@pytest.mark.parametrize('strict', [False, pytest.param(True, marks=pytest.mark.soak)])
def test_an_exported_backbone_takes_any_batch_height_and_width(strict, figure, tmp_path):
    from torch.export import Dim
    model = backbone(4 if strict else 1, num_registers=2, out_indices=(0, -1) if strict else -1)
    sizes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}, )
    exported = torch.export.export(model, (torch.randn(2, 3, 30, 42), ), dynamic_shapes=sizes, strict=strict)
    torch.export.save(exported, tmp_path / 'model.pt2')
    run = torch.export.load(tmp_path / 'model.pt2').module()
    largest = 0
    for shape in [(1, 3, 24, 24), (3, 3, 24, 36), (2, 3, 5, 61), (1, 3, 40, 200)]:
        images = torch.randn(shape)
        with torch.no_grad():
            for one, other in zip(model(images), run(images)):
                assert one.shape == other.shape and one.abs().max() > 0.1
                largest = max(largest, (one - other).abs().max().item())
    assert largest < 1e-5
    figure(SECTION, f'torch.export (strict={strict}), saved and loaded: largest difference of features at 4 unseen '
           'sizes', largest)


def compare_backbones(attention, compiler, layers, sizes, figure):
    """As one graph, where mmcv's FFN allows it: fullgraph=True makes a graph break an error."""
    skip_without_compiler(compiler)
    model = backbone(layers, attention_backend=attention)
    compiled = torch.compile(model, fullgraph=WHOLE, backend=compiler)
    largest = 0
    for size in sizes:
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected, actual = model(images)[0], compiled(images)[0]
        largest = max(largest, (expected - actual).abs().max().item())
    assert largest < 1e-5 and expected.abs().max() > 0.1 and (graph_breaks() == 0 or not WHOLE)
    what = f'torch.compile ({compiler}) of a backbone, {layers} blocks, {len(sizes)} sizes, attention {attention}'
    figure(SECTION, f'{what}: largest difference', largest)
    figure(SECTION, f'{what}: graph breaks', graph_breaks())


SIZES = [(30, 38), (16, 50), (24, 24)]


@needs_operators
@pytest.mark.parametrize(('compiler', 'sizes'), [
    ('inductor', SIZES[:1]), pytest.param('aot_eager', SIZES[:2], marks=pytest.mark.soak)])
def test_a_compiled_backbone_gives_the_same_numbers(compiler, sizes, figure):
    compare_backbones('auto', compiler, 1, sizes, figure)


@pytest.mark.soak
@needs_operators
def test_a_backbone_compiled_by_inductor_for_several_sizes(figure):
    compare_backbones('auto', 'inductor', 4, SIZES, figure)


@pytest.mark.skipif(not WHOLE, reason='graphs break in this PyTorch')
def test_tiles_are_no_graph():
    with pytest.raises(Exception, match='a loop over tiles cannot be recorded in a graph; these can: dense, sdpa'):
        torch.compile(backbone(attention_backend='streaming'), fullgraph=True, backend='eager')(torch.ones(1, 3, 8, 8))


def train(model, head, compiler, steps=3):
    """Forward and loss as one graph, the optimizer apart; returns losses and the gradients of the first step."""
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-3)
    generator = torch.Generator().manual_seed(3)

    def loss_of(images, labels):
        return cross_entropy(head(model(images)[0].mean(dim=(2, 3))), labels)

    update = optimizer.step
    if compiler:
        loss_of = torch.compile(loss_of, backend=compiler, fullgraph=WHOLE)
        update = torch.compile(update, backend=compiler)
    losses, gradients = [], {}
    for _ in range(steps):
        loss = loss_of(torch.randn(4, 3, 24, 24, generator=generator), torch.randint(5, (4, ), generator=generator))
        loss.backward()
        gradients = gradients or {name: value.grad.clone() for name, value in model.named_parameters()}
        update()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, gradients


def compare_training(attention, compiler, layers, figure):
    runs_here(attention, torch.empty(1, 1, 1, 16))
    skip_without_compiler(compiler)
    models = [(backbone(layers, attention_backend=attention).train(), torch.nn.Linear(64, 5))]
    models.append(copy.deepcopy(models[0]))
    before = copy.deepcopy(models[0][0].state_dict())
    (losses, gradients), (compiled_losses, compiled_gradients) = (
        train(*pair, name) for pair, name in zip(models, (None, compiler)))
    state, compiled_state = (pair[0].state_dict() for pair in models)
    assert all((state[name] - before[name]).abs().max() > 1e-4 for name in state if '.gaug.' in name)
    assert compiled_losses == pytest.approx(losses, abs=1e-4)
    largest = max((value - compiled_gradients[name]).abs().max().item() / max(1, value.abs().max().item())
                  for name, value in gradients.items())
    assert largest < 1e-5 and all(value.abs().max() > 0 for value in gradients.values())
    moved = max((state[name] - compiled_state[name]).abs().max().item() for name in state)
    # Adam divides by the square root of a squared gradient: rounding of one near zero moves a weight by up to lr.
    assert moved < 1e-3
    what = f'torch.compile ({compiler}) of a training step, {layers} blocks, attention {attention}'
    figure(SECTION, f'{what}: largest relative difference of gradients', largest)
    figure(SECTION, f'{what}: largest difference of weights after 3 AdamW steps of 1e-3', moved)
    figure(SECTION, f'{what}: graph breaks, all in torch.optim', graph_breaks())
    # PyTorch's optimizers break a graph on purpose; fullgraph=True proves that nothing else does.
    reasons = list(torch._dynamo.utils.counters['graph_break'])
    assert not WHOLE or graph_breaks() <= 1 and all('User-inserted' in reason for reason in reasons), reasons


# Twenty sizes of images, with padding and without, upright, wide and square.
TWENTY = [(24, 24), (32, 24), (24, 32), (20, 20), (30, 38), (16, 50), (36, 36), (12, 12), (40, 28), (28, 40), (33, 33),
          (26, 62), (62, 26), (48, 48), (44, 20), (20, 44), (13, 13), (22, 31), (52, 52), (18, 26)]


@needs_operators
@pytest.mark.parametrize(('attention', 'sizes'), [
    ('sdpa', TWENTY[:8]), *(pytest.param(name, TWENTY, marks=pytest.mark.soak) for name in ('triton', 'sdpa'))])
def test_many_sizes_make_few_graphs(attention, sizes, figure):
    """Two for sizes as numbers; with symbols one for each way to pad, and for upright and wide ones but with Triton."""
    runs_here(attention, torch.empty(1, 1, 1, 16))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    if not WHOLE:
        pytest.skip('graphs break in this PyTorch')
    compiled = torch.compile(backbone(attention_backend=attention), fullgraph=True, backend=count)
    with torch.no_grad():
        for size in sizes:
            assert compiled(torch.randn(1, 3, *size))[0].shape[2:] == tuple(-(-side // 4) for side in size)
    assert 2 < len(graphs) <= min(8, len(sizes) - 1) and graph_breaks() == 0
    if sizes == TWENTY:
        figure(SECTION, f'torch.compile of a backbone: graphs for 20 sizes of images, attention {attention}',
               len(graphs))


@needs_operators
@pytest.mark.parametrize('attention', ['sdpa', pytest.param('triton', marks=pytest.mark.soak)])
def test_a_compiled_training_step_gives_the_same_weights(attention, figure):
    compare_training(attention, 'aot_eager', 1, figure)


@pytest.mark.soak
@needs_operators
def test_a_training_step_compiled_by_inductor(figure):
    compare_training('sdpa', 'inductor', 2, figure)


@needs_operators
@pytest.mark.parametrize('attention', ['auto', pytest.param('triton', marks=pytest.mark.soak)])
def test_mmengines_train_step_compiled(attention, figure):
    """What ``compile=dict(backend=...)`` in a config does: mmengine compiles ``train_step``, preprocessing and all."""
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper
    from mmpretrain.structures import DataSample
    config = Config.fromfile(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')
    config.model.backbone.arch.num_layers = 1
    config.model.backbone.attention_backend = attention
    runs_here(attention, torch.empty(1, 1, 1, 16))
    images = torch.randint(256, (2, 4, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = [dict(inputs=list(batch), data_samples=[DataSample().set_gt_label(i) for i in range(4)])
               for batch in images]
    losses, states = [], []
    for compiler in (None, 'aot_eager'):
        model = random_model(config)
        model.train()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9))
        step = torch.compile(model.train_step, backend=compiler) if compiler else model.train_step
        losses.append([step(copy.deepcopy(batch), wrapper)['loss'].item() for batch in batches])
        states.append(model.state_dict())
    largest = max((states[0][name] - states[1][name]).abs().max().item() for name in states[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0][0] != losses[0][1]
    assert largest < 1e-4
    # The label's tensor in the preprocessing, Tensor.backward and PyTorch's optimizer; the model breaks nothing.
    reasons = ' '.join(torch._dynamo.utils.counters['graph_break'])
    assert (graph_breaks() <= 4 or not WHOLE) and 'mmlocat' not in reasons, reasons
    what = f"torch.compile (aot_eager) of mmengine's train_step of a classifier, 2 steps, attention {attention}"
    figure(SECTION, f'{what}: graph breaks', graph_breaks())
    figure(SECTION, f'{what}: largest difference of weights', largest)


def test_pytorchs_own_dynamic_quantisation_runs():
    """It replaces nn.Linear; the layers of GAug, whose weights are read, it must leave alone."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from torch.ao.quantization import quantize_dynamic
        model = LocAtViT(dict(NANO, num_layers=2), 24, 4).eval()
        quantised = quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    assert 'quantized' in type(quantised.layers[1].attn.qkv).__module__
    assert isinstance(quantised.layers[1].attn.gaug.log_var, torch.nn.Linear)
    images = torch.randn(2, 3, 30, 24)
    with torch.no_grad():
        expected, actual = model(images)[0], quantised(images)[0]
    assert 0 < (expected - actual).abs().max() < 0.1 < expected.abs().max()
