"""Random calls of the Triton back-end and the oracle in float64, for its tests; on the GPU where there is one."""

import copy

import torch

from mmlocat.attention import GaussianAttention, GaussianKernel

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
REF = 5  # so that small grids are larger than that of pretraining


class Call:
    """One call of GaussianAttention with random inputs.

    Args:
        grid: (H, W).
        prefix: P.
        dims: d.
        batch: B.
        heads: h.
        dtype: Of q, k and v.
        gate: Whether something else than the query predicts the Gaussians.
        bias: Shape of what is added to the logits, or None.
        layout: 'qkv' as views of one layer's output, 'heads' contiguous, or 'channels' with channels apart.
        strength: Factor on the layers' weights.
    """

    def __init__(self, grid, prefix=1, dims=16, batch=1, heads=2, dtype=torch.float32, gate=False, bias=None,
                 layout='qkv', strength=1.0):
        tokens = prefix + grid[0] * grid[1]
        shape = (batch, heads, tokens, dims)
        self.grid, self.heads, self.tokens = grid, heads, tokens
        if layout == 'qkv':
            self.qkv = torch.randn(batch, tokens, 3, heads, dims, device=DEVICE).to(dtype)
            rows = list(self.qkv.permute(2, 0, 3, 1, 4).unbind(0))
        elif layout == 'heads':
            rows = [torch.randn(shape, device=DEVICE).to(dtype) for _ in range(3)]
        else:
            rows = [torch.randn(batch, heads, dims, tokens, device=DEVICE).to(dtype).mT for _ in range(3)]
        self.leaves = dict(zip(('query', 'key', 'value'), rows))
        if gate:
            self.leaves['gate_query'] = torch.randn(shape, device=DEVICE).to(dtype)
        if bias is not None:
            self.leaves['bias'] = torch.randn(bias, device=DEVICE).to(dtype)
        self.leaves = {name: leaf.detach().requires_grad_() for name, leaf in self.leaves.items()}
        self.module = GaussianAttention(dims, GaussianKernel(REF), prefix, 'triton').to(DEVICE)
        for parameter in self.module.parameters():
            torch.nn.init.normal_(parameter, std=strength * dims**-0.5 if parameter.dim() > 1 else strength)
        self.direction = torch.randn(batch, tokens, heads, dims, device=DEVICE).to(dtype).transpose(1, 2)

    def attend(self, **options):
        """Returns the output."""
        leaves = dict(self.leaves)
        query, key, value = (leaves.pop(name) for name in ('query', 'key', 'value'))
        return self.module(query, key, value, self.grid, **leaves, **options)

    def results(self, **options):
        """Returns the output and the gradients of all inputs and of the layers, by name."""
        out = self.attend(**options)
        named = {**self.leaves, **dict(self.module.named_parameters())}
        wanted = {name: leaf for name, leaf in named.items() if leaf.requires_grad}
        return {'out': out, **dict(zip(wanted, torch.autograd.grad(out, list(wanted.values()), self.direction)))}

    def oracle(self):
        """Returns the same call in float64, computed by the dense back-end."""
        other = copy.copy(self)
        other.leaves = {name: leaf.detach().double().requires_grad_(leaf.requires_grad)
                        for name, leaf in self.leaves.items()}
        old = self.module
        other.module = GaussianAttention(old.log_var.in_features, old.kernel, old.num_prefix_tokens, 'dense')
        other.module.to(DEVICE, torch.float64).load_state_dict(old.state_dict())
        for own, theirs in zip(old.parameters(), other.module.parameters()):
            theirs.requires_grad_(own.requires_grad)
        other.direction = self.direction.double()
        return other


def errors(actual, expected):
    """Returns ||a - b|| / ||b|| by name."""
    assert actual.keys() == expected.keys()
    found = {}
    for name, exact in expected.items():
        own = actual[name].double()
        assert own.shape == exact.shape and own.isfinite().all(), name
        found[name] = ((own - exact).norm() / exact.norm().clamp_min(1e-30)).item()
    return found


def assert_equals_the_oracle(call, tolerance=1e-4):
    """Compares the output, to 1e-5, and every gradient, none of which is zero."""
    expected = call.oracle().results()
    assert all(tensor.abs().max() > 0 for tensor in expected.values())
    found = errors(call.results(), expected)
    assert max(found.values()) < tolerance and found['out'] < 1e-5, found
