"""The Triton back-end in graphs: one graph without breaks, few of them over many sizes, few kernels compiled."""

import pytest
import torch

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.backends import unable
from tests.helpers.triton_cases import DEVICE, Call

REASON = unable('triton', torch.empty(1, 1, 1, 16, device=DEVICE), True)
pytestmark = [pytest.mark.skipif(REASON is not None, reason=str(REASON)), pytest.mark.usefixtures('fresh_graphs')]
# Twenty sizes of images: small and large, upright, wide and square, those of pretraining.
GRIDS = [(14, 14), (15, 15), (16, 16), (32, 32), (33, 45), (37, 50), (64, 64), (128, 128), (29, 29), (36, 43), (43, 36),
         (1, 64), (64, 1), (7, 9), (24, 24), (24, 32), (48, 48), (20, 13), (31, 17), (96, 64)]


class Counted:
    """A compiler that counts the graphs it is given, and runs them as they are."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph


@pytest.mark.parametrize('options', [dict(), dict(gate=True, bias=(1, 2, 13, 13))], ids=['plain', 'gate and bias'])
def test_a_compiled_call_gives_the_same_bits_and_gradients(options):
    call = Call((3, 4), **options)
    expected = call.results()
    module = call.module
    call.module = torch.compile(module, fullgraph=True, backend='aot_eager')
    out = call.attend()
    leaves = [*call.leaves.values(), *module.parameters()]
    gradients = torch.autograd.grad(out, leaves, call.direction)
    assert torch.equal(out, expected['out'])
    names = [*call.leaves, *(name for name, _ in module.named_parameters())]
    for name, gradient in zip(names, gradients):
        assert torch.equal(gradient, expected[name]), name
    assert not torch._dynamo.utils.counters['graph_break']


def test_a_frozen_attention_compiles_for_inference():
    call = Call((3, 4))
    with torch.no_grad():
        expected = call.attend()
        call.module = torch.compile(call.module, fullgraph=True, backend='aot_eager')
        assert torch.equal(call.attend(), expected)


@pytest.mark.skipif(DEVICE == 'cpu', reason='inductor and CUDA graphs need a GPU to run Triton kernels')
@pytest.mark.parametrize('mode', ['default', 'reduce-overhead'])
@pytest.mark.parametrize('trains', [True, False])
def test_inductor_and_cuda_graphs(mode, trains):
    call = Call((14, 14), dims=64, dtype=torch.bfloat16)
    expected = call.results()
    module = call.module
    call.module = torch.compile(module, fullgraph=True, mode=mode)
    for _ in range(4):  # warm-up, recording, replays
        with torch.set_grad_enabled(trains):
            out = call.attend()
        assert torch.equal(out, expected['out'])
        if trains:
            leaves = [*call.leaves.values(), *module.parameters()]
            gradients = torch.autograd.grad(out, leaves, call.direction)
            assert all(torch.equal(own, other) for own, other in zip(gradients, list(expected.values())[1:]))


@pytest.mark.parametrize('trains', [False, True])
def test_twenty_sizes_make_four_graphs_at_most(trains):
    """One for the first size, and dynamic ones; the kernels' launch is stood in for by the operator's shapes."""
    compiler = Counted()
    module = GaussianAttention(16, GaussianKernel(14), 1, 'triton').to(DEVICE)
    compiled = torch.compile(module, fullgraph=True, backend=compiler)
    for grid in [(2, 3), (3, 2), (3, 3), (4, 5), (5, 4), (1, 6), (6, 1), (2, 2), (5, 5), (3, 7), (7, 3), (4, 4), (2, 8),
                 (8, 2), (3, 5), (5, 3), (4, 6), (6, 4), (6, 6), (2, 5)]:
        rows = [torch.randn(1, 1, 1 + grid[0] * grid[1], 16, device=DEVICE, requires_grad=trains) for _ in range(3)]
        with torch.set_grad_enabled(trains):
            assert compiled(*rows, grid).requires_grad == trains
    # A side of 1 has a graph of its own, by PyTorch's rule.
    assert 2 <= compiler.graphs <= 4
    assert not torch._dynamo.utils.counters['graph_break']


@pytest.mark.parametrize('options', [dict(prefix=0), dict(gate=True, bias=(1, 2, 13, 13))])
def test_the_operator_keeps_its_promises(options):
    """PyTorch's own check of a custom operator: schema, gradient, shapes for the compiler, dynamic sizes."""
    call = Call((3, 4), **options)
    leaves = [call.leaves.get(name) for name in ('query', 'key', 'value', 'gate_query', 'bias')]
    layers = [call.module.log_var.weight, call.module.log_var.bias, call.module.log_alpha.weight,
              call.module.log_alpha.bias]
    arguments = (*leaves, *layers, [5, 5], [3, 4], call.module.num_prefix_tokens, 0.25)
    call.attend()  # registers it
    torch.library.opcheck(torch.ops.mmlocat.triton_attention.default, arguments)


def test_twenty_sizes_compile_few_kernels():
    """What Triton specialises on: options, and of each number whether it is 1, divisible by 16, or beyond 32 bits."""
    from mmlocat.attention.triton_backend.launch import Constants, Inputs, plan_of
    layers = [torch.empty(shape) for shape in ((2, 64), (2, ), (1, 64), (1, ))]
    kinds = {name: set() for name in ('forward', 'queries', 'keys')}
    for height, width in GRIDS:
        for batch in (1, 8, 13):
            tokens = 1 + height * width
            qkv = torch.empty(batch, tokens, 3, 12, 64, dtype=torch.bfloat16, device='meta')
            rows = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            plan = plan_of(Inputs(*rows, None, None, *layers), Constants((14, 14), (height, width), 1, 0.125))
            grad = plan.empty(rows[0]).stride()[:3]
            for name, wants in (('forward', ()), ('queries', (True, True, True, False, False)), ('keys', (True, True))):
                launch = plan.launch(name, grad if wants else (), wants)
                sizes = launch.numbers.index(12, len(launch.numbers) - 13)  # heads and after: not specialised on
                kinds[name].add((*launch.options.items(), *((number == 1, number % 16 == 0, number < 2**31)
                                                            for number in launch.numbers[:sizes])))
    # Windows of 8, 16 or, forward, 32 columns or none, whether they divide the width, whether distances are clamped.
    assert 4 <= len(kinds['forward']) <= 10 and len(kinds['queries']) <= 10 and len(kinds['keys']) <= 8, {
        name: len(found) for name, found in kinds.items()}
