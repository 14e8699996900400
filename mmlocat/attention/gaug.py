"""Provides GAug as a function of given Gaussians, and as a module whose two small layers predict them."""

from __future__ import annotations

import math
from contextlib import contextmanager
from inspect import signature
from typing import Callable, Iterator, Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.hooks import RemovableHandle

from .backends import check_backend, choose
from .calls import checked_request
from .kernel import GaussianKernel, Grid, as_grid
from .pytorch import is_cpu_inference, is_exporting

_STD = 0.02
# softplus(-10) = 4.5e-5 of a logit keeps outputs within 1e-4 of the plain model's. Its gradient is as small, but not 0,
# and Adam makes up for its size; what takes long is the way from -10, for Adam moves a weight by at most about the sum
# of its rates. docs/retrofit.md says what follows for those.
_IDENTITY_BIAS = -10.


def gaussian_attention(query: Tensor,
                       key: Tensor,
                       value: Tensor,
                       variance: Tensor,
                       alpha: Tensor,
                       *,
                       kernel: GaussianKernel,
                       grid: Union[int, Grid],
                       num_prefix_tokens: int = 0,
                       scale: Optional[float] = None,
                       dropout_p: float = 0.0,
                       bias: Optional[Tensor] = None,
                       backend: str = 'auto') -> Tensor:
    """Computes attention whose logits between patches get a Gaussian around each query added (GAug).

    Computes ``softmax(q k^T * scale + S) v`` with
    ``S[p, t] = alpha[p] * exp(-0.5 * (Dy / (var_y[p] + eps) + Dx / (var_x[p] + eps)))``
    on patch rows and columns and 0 on those of prefix tokens. Source: *Locality-Attending
    Vision Transformer* (arXiv 2603.04892), Gaussian-augmented attention.

    Args:
        query: Shape (B, h, N, d) with N = P + H*W; prefix tokens first, then patches row-major.
        key: Shape (B, h, N, d).
        value: Shape (B, h, N, d).
        variance: Shape (B, h, H*W, 2), squared patches, rows first; from ``kernel.variance``.
        alpha: Shape (B, h, H*W, 1), in units of a logit; from ``kernel.alpha``.
        kernel: The constants of the pretraining grid.
        grid: The current patch grid (H, W).
        num_prefix_tokens: P, the class and register tokens.
        scale: Factor on q k^T. Defaults to ``d ** -0.5``.
        dropout_p: Probability of dropping an attention weight; always applied, so pass 0 in evaluation.
        bias: A further term of the logits, such as a table of relative positions or a mask: broadcastable to
            (B, h, N, N), floating point. Not every back-end takes one; those that do compute its gradient, for which
            'triton' needs one number a logit. A query whose keys are all masked (-inf) gives 0 in 'triton' and 'sdpa',
            NaN in 'dense', as softmax does.
        backend: 'auto', or one of ``available_backends()``; a named one never falls back to another.

    Returns:
        Shape (B, h, N, d), in the dtype of ``query``.

    Raises:
        TypeError: q, k and v differ in dtype, or are not floating point.
        ValueError: A shape does not fit the grid, a number is out of range, or the back-end is unknown.
        RuntimeError: The named back-end cannot take this call; the message says why and what can.
    """
    grid = as_grid(grid)
    request = checked_request(query, key, value, grid, num_prefix_tokens, scale, dropout_p, bias, variance, alpha)
    if not is_exporting():  # sizes are symbols then
        for name, tensor, last in (('variance', variance, 2), ('alpha', alpha, 1)):
            wanted = (*query.shape[:2], grid[0] * grid[1], last)
            if tensor.shape != wanted:
                raise ValueError(f'{name} must have shape (B, h, H*W, {last}) = {wanted}, got {tuple(tensor.shape)}')
    return choose(backend, request).attend(
        query, key, value, variance, alpha, kernel=kernel, grid=grid, num_prefix_tokens=num_prefix_tokens,
        scale=request.scale, dropout_p=dropout_p, bias=bias)


@contextmanager
def independent_random_state() -> Iterator[None]:
    """Runs the block with its own random state, seeded from PyTorch's, and restores PyTorch's afterwards.

    So one seed gives LocAtViT and the plain ViT the same weights wherever both have them, and the numbers
    drawn inside the block differ from those drawn after it.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the GPUs' generators too.
        torch.default_generator.manual_seed(int(torch.randint(2**31, (), device='cpu')))
        yield


def _linear_of_heads(query: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Computes ``linear(query, weight, bias)``, faster on a CPU for the many short heads of Swin's windows.

    Queries stay where a layer ``qkv`` left them, between keys and values, instead of being copied. Each output has
    its numbers side by side in memory, so what follows element by element fills the processor's vectors.

    Args:
        query: Shape (B, h, N, d).
        weight: Shape (outputs, d).
        bias: Shape (outputs, ).

    Returns:
        Shape (B, h, N, outputs), a view of (h, outputs, B, N).
    """
    batch, heads, num_tokens, _ = query.shape
    by_head = query.transpose(0, 1).flatten(1, 2)
    outputs = torch.bmm(weight.expand(heads, -1, -1), by_head.transpose(1, 2)) + bias[:, None]
    return outputs.unflatten(2, (batch, num_tokens)).permute(2, 0, 3, 1)


class _FloatLinear(nn.Linear):
    """A linear layer that torch.ao.quantization leaves alone, because it only replaces PyTorch's own class."""


class GaussianAttention(nn.Module):
    """Attention that adds to its logits a Gaussian predicted by each query (GAug), with 3d + 3 parameters a block.

    Source: *Locality-Attending Vision Transformer* (arXiv 2603.04892), Gaussian-augmented attention. A layer of any
    vision transformer calls it instead of ``scaled_dot_product_attention``. Its two layers have the names that they
    have in published checkpoints, where the module is ``attn.gaug``.

    Args:
        head_dims: d, channels of one head; all heads share the two layers.
        kernel: The constants of the pretraining grid.
        num_prefix_tokens: P, the class and register tokens before the patches. Defaults to 1.
        backend: 'auto', or one of ``available_backends()``; see ``gaussian_attention``. Defaults to 'auto'.

    Raises:
        ValueError: The back-end is unknown.
    """

    def __init__(self, head_dims: int, kernel: GaussianKernel, num_prefix_tokens: int = 1,
                 backend: str = 'auto') -> None:
        super().__init__()
        self.kernel = kernel
        self.num_prefix_tokens = num_prefix_tokens
        self.backend = check_backend(backend)
        with independent_random_state():
            self.log_var = _FloatLinear(head_dims, 2)
            self.log_alpha = _FloatLinear(head_dims, 1)
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weights to a truncated normal of 0.02 and biases to 0, so that variance is near 1 and alpha near ln 2.

        Weights are drawn on the CPU wherever they lie, because only the CPU's random state is saved and restored.
        """
        for layer in (self.log_var, self.log_alpha):
            # Drawn by the inverse of the normal distribution function, as in MMEngine: nn.init differs by version.
            drawn = torch.empty(layer.weight.shape, device='cpu').uniform_(-1, 1)
            drawn.erfinv_().mul_(_STD * math.sqrt(2)).clamp_(-2, 2)
            with torch.no_grad():
                layer.weight.copy_(drawn)
                layer.bias.zero_()

    def start_as_identity(self) -> None:
        """Sets alpha to nearly zero, so that attention starts as a plain ViT's, while all weights have gradients."""
        with torch.no_grad():
            self.log_alpha.bias.fill_(_IDENTITY_BIAS)

    def predict(self, query: Tensor, grid: Union[int, Grid]) -> Tuple[Tensor, Tensor]:
        """Predicts the Gaussians of patches.

        Args:
            query: Queries of the patches, without prefix tokens, shape (B, h, H*W, d).
            grid: The current patch grid (H, W).

        Returns:
            Variance (B, h, H*W, 2), in squared patches, rows first, and alpha (B, h, H*W, 1), in units of a logit.
        """
        # One product computes both layers: on small grids the number of operations determines the time.
        weight = torch.cat([self.log_var.weight, self.log_alpha.weight])
        bias = torch.cat([self.log_var.bias, self.log_alpha.bias])
        product = _linear_of_heads if is_cpu_inference(query, weight, bias) else linear
        logits = product(query, weight, bias)
        return self.kernel.variance(logits[..., :2], grid), self.kernel.alpha(logits[..., 2:])

    def listen(self, listener: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
        """Registers a listener that gets variance and alpha of every later call, whatever the back-end.

        They are predicted once more for it, without gradients, since a fused back-end forms no tensors of them.

        Args:
            listener: Called with variance and alpha, as ``predict`` returns them.

        Returns:
            A handle whose ``remove()`` removes the listener.
        """

        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            call = signature(self.forward).bind(*args, **kwargs).arguments
            with torch.no_grad():
                listener(*self._predict_all(call['query'], call['grid'], call.get('gate_query'),
                                            call.get('num_prefix_tokens')))

        return self.register_forward_pre_hook(before, with_kwargs=True)

    def _predict_all(self, query: Tensor, grid: Union[int, Grid], gate_query: Optional[Tensor],
                     num_prefix_tokens: Optional[int]) -> Tuple[Tensor, Tensor]:
        gate = query if gate_query is None else gate_query
        prefix = self.num_prefix_tokens if num_prefix_tokens is None else num_prefix_tokens
        return self.predict(gate[:, :, prefix:], grid)

    def forward(self,
                query: Tensor,
                key: Tensor,
                value: Tensor,
                grid: Union[int, Grid],
                *,
                gate_query: Optional[Tensor] = None,
                num_prefix_tokens: Optional[int] = None,
                bias: Optional[Tensor] = None,
                scale: Optional[float] = None,
                dropout_p: float = 0.0) -> Tensor:
        """Attends; see ``gaussian_attention``.

        Args:
            query: Shape (B, h, N, d) with N = P + H*W; prefix tokens first, then patches row-major.
            key: Likewise.
            value: Likewise.
            grid: The current patch grid (H, W).
            gate_query: The tensor that predicts the Gaussians instead of ``query``, such as the query before a rotary
                embedding; shape (B, h, N, d).
            num_prefix_tokens: P of this call, where others stand before the patches too, such as a decoder's queries.
                Defaults to the module's.
            bias: A further term of the logits; broadcastable to (B, h, N, N).
            scale: Factor on q k^T. Defaults to ``d ** -0.5``.
            dropout_p: Probability of dropping an attention weight; always applied, so pass 0 in evaluation.

        Returns:
            Shape (B, h, N, d), in the dtype of ``query``.

        Raises:
            TypeError: Dtypes differ, or are not floating point.
            ValueError: A shape does not fit the grid, or a number is out of range.
            RuntimeError: The named back-end cannot take this call; the message says why and what can.
        """
        grid = as_grid(grid)
        if gate_query is not None and gate_query.shape != query.shape:
            raise ValueError(f'gate_query must have the shape of query, {tuple(query.shape)}, '
                             f'got {tuple(gate_query.shape)}')
        layers = (self.log_var.weight, self.log_var.bias, self.log_alpha.weight, self.log_alpha.bias)
        prefix = self.num_prefix_tokens if num_prefix_tokens is None else num_prefix_tokens
        request = checked_request(query, key, value, grid, prefix, scale, dropout_p, bias, gate_query, *layers)
        common = dict(kernel=self.kernel, grid=grid, num_prefix_tokens=prefix, scale=request.scale, bias=bias)
        backend = choose(self.backend, request)
        if hasattr(backend, 'attend_and_predict'):
            return backend.attend_and_predict(query, key, value, gate_query, layers, **common)
        variance, alpha = self._predict_all(query, grid, gate_query, prefix)
        return backend.attend(query, key, value, variance, alpha, dropout_p=dropout_p, **common)
