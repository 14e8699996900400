"""torch.export and torch.compile: the same numbers as without, and how often a graph breaks."""

import copy

import pytest
import torch
from conftest import NANO, ROOT
from random_models import random_model
from torch.nn.functional import cross_entropy

from mmlocat.attention import streaming_operator
from mmlocat.models import LocAtViT

SECTION = 'Exported and compiled'
needs_export = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason=f'PyTorch {torch.__version__} cannot record graphs for images of any size')
needs_operators = pytest.mark.skipif(
    not streaming_operator.AVAILABLE,
    reason=f'PyTorch {torch.__version__} has no torch.library.custom_op (2.4 has); graphs break without it')


def backbone(layers=1, **options):
    model = LocAtViT(dict(NANO, num_layers=layers), 24, 4, out_type='featmap', **options)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def graph_breaks():
    return sum(torch._dynamo.utils.counters['graph_break'].values())


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


@needs_export
@pytest.mark.parametrize('strict', [False, True])
def test_an_exported_backbone_takes_any_batch_height_and_width(strict, figure, tmp_path):
    from torch.export import Dim
    model = backbone(2, num_registers=2, out_indices=(0, 1))
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
    if not strict:
        figure(SECTION, 'torch.export, saved and loaded: largest difference of features at 4 unseen sizes', largest)


@needs_operators
@pytest.mark.parametrize('backend', ['auto', 'streaming'])
def test_a_compiled_backbone_gives_the_same_numbers(backend, figure):
    """By the default compiler (inductor), as one graph: fullgraph=True makes a graph break an error."""
    model = backbone(attention_backend=backend)
    compiled = torch.compile(model, fullgraph=True)
    largest = 0
    for size in [(24, 24), (30, 38)]:
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected, actual = model(images)[0], compiled(images)[0]
        largest = max(largest, (expected - actual).abs().max().item())
    assert largest < 1e-5 and expected.abs().max() > 0.1 and graph_breaks() == 0
    figure(SECTION, f'torch.compile (inductor) of a backbone, attention {backend}: largest difference', largest)
    figure(SECTION, f'torch.compile (inductor) of a backbone, attention {backend}: graph breaks', graph_breaks())


def train(model, head, compiler, steps=3):
    """Forward, loss, backward and AdamW as one function, compiled or not; returns the losses."""
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-3)
    generator = torch.Generator().manual_seed(3)

    def step(images, labels):
        loss = cross_entropy(head(model(images)[0].mean(dim=(2, 3))), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    step = torch.compile(step, backend=compiler) if compiler else step
    return [step(torch.randn(4, 3, 24, 24, generator=generator), torch.randint(5, (4, ), generator=generator)).item()
            for _ in range(steps)]


def compare_training(attention, compiler, layers, figure):
    models = [(backbone(layers, attention_backend=attention).train(), torch.nn.Linear(64, 5))]
    models.append(copy.deepcopy(models[0]))
    before = copy.deepcopy(models[0][0].state_dict())
    losses = [train(*pair, name) for pair, name in zip(models, (None, compiler))]
    state, other = (pair[0].state_dict() for pair in models)
    assert all((state[name] - before[name]).abs().max() > 1e-4 for name in state if '.gaug.' in name)
    largest = max((state[name] - other[name]).abs().max().item() for name in state)
    # Adam divides by the square root of a squared gradient: rounding of one near zero moves a weight by up to lr.
    assert largest < 1e-4 and losses[0] == pytest.approx(losses[1], abs=1e-5)
    what = f'torch.compile ({compiler}) of a training step, attention {attention}'
    figure(SECTION, f'{what}: largest difference of weights after 3 steps', largest)
    figure(SECTION, f'{what}: graph breaks', graph_breaks())
    return graph_breaks()


@needs_operators
@pytest.mark.parametrize('attention', ['sdpa', 'streaming'])
def test_a_compiled_training_step_gives_the_same_weights(attention, figure):
    """Forward and loss are one graph, the optimizer another: what breaks in between is Tensor.backward."""
    assert compare_training(attention, 'aot_eager', 1, figure) <= 2


@pytest.mark.soak
@needs_operators
@pytest.mark.parametrize('attention', ['sdpa', 'streaming'])
def test_a_training_step_compiled_by_inductor(attention, figure):
    assert compare_training(attention, 'inductor', 4, figure) <= 2


@needs_operators
def test_mmengines_train_step_compiled(figure):
    """What ``compile=dict(backend=...)`` in a config does: mmengine compiles ``train_step``, preprocessing and all."""
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper
    from mmpretrain.structures import DataSample
    config = Config.fromfile(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')
    images = torch.randint(256, (2, 4, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = [dict(inputs=list(batch), data_samples=[DataSample().set_gt_label(i) for i in range(4)])
               for batch in images]
    losses, states = [], []
    for compiler in (None, 'aot_eager'):
        model = random_model(config)
        model.train()
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
        step = torch.compile(model.train_step, backend=compiler) if compiler else model.train_step
        losses.append([float(step(copy.deepcopy(batch), wrapper)['loss']) for batch in batches])
        states.append(model.state_dict())
    largest = max((states[0][name] - states[1][name]).abs().max().item() for name in states[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0][0] != losses[0][1]
    assert largest < 1e-3
    figure(SECTION, "torch.compile (aot_eager) of mmengine's train_step of a classifier: graph breaks", graph_breaks())
    figure(SECTION, "torch.compile (aot_eager) of mmengine's train_step of a classifier: largest difference of weights "
           'after 2 steps', largest)


@needs_operators
@pytest.mark.parametrize('dropout_p', [0.0, 0.3])
@pytest.mark.parametrize('prefix', [0, 2])
def test_the_operator_keeps_its_promises(dropout_p, prefix):
    """PyTorch's own check of a custom operator: schema, gradient, shapes for the compiler, dynamic sizes."""
    tokens = prefix + 12
    query, key, value = (torch.randn(2, 3, tokens, 8, requires_grad=True) for _ in range(3))
    variance = (torch.rand(2, 3, 12, 2) + 0.5).requires_grad_()
    alpha = torch.rand(2, 3, 12, 1).requires_grad_()
    torch.library.opcheck(torch.ops.mmlocat.streaming_attention.default,
                          (query, key, value, variance, alpha, torch.tensor(7), [3, 3], [3, 4], prefix, 0.3, dropout_p))
