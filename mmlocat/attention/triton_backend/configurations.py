"""Which tiles each kernel is compiled for, by dtype, head dimension and grid.

Measured on an H200 for 64 channels in half precision; the others were chosen by what the compiler says for sm_80 and
sm_90: no spills, shared memory of the smallest cards (99 KiB). The tests compile every one of them.
"""

from __future__ import annotations

import math
from typing import Dict, NamedTuple, Tuple

import torch

KERNELS = ('forward', 'queries', 'keys')
LARGEST_HEAD = 128


class Tile(NamedTuple):
    """How one kernel is compiled."""

    block_m: int  # queries
    block_n: int  # keys
    num_warps: int
    num_stages: int
    registers: int = 0  # at most, a thread; 0 is no limit. 168 lets three blocks of four warps share an SM, 128 four
    tile_sums: bool = False  # 'queries', windows: sums of a tile over grid rows only, those over columns after the loop


# (kernel, whether in half precision, padded head dimension)
_TILES: Dict[Tuple[str, bool, int], Tile] = {
    ('forward', True, 64): Tile(64, 64, 4, 3),
    ('queries', True, 64): Tile(64, 64, 4, 3, tile_sums=True),
    ('keys', True, 64): Tile(64, 64, 4, 3),
    ('forward', False, 64): Tile(64, 32, 8, 2),
    ('queries', False, 64): Tile(32, 32, 4, 2),
    ('keys', False, 64): Tile(32, 32, 4, 1),
}
for _half in (True, False):
    for _dims in (16, 32, 128):
        for _kernel in KERNELS:
            _TILES[_kernel, _half, _dims] = _TILES[_kernel, _half, 64]
# The same on Hopper (compute capability 9.0) where another was measured to be faster there.
_ON_HOPPER: Dict[Tuple[str, bool, int], Tile] = {
    ('forward', True, 64): Tile(64, 64, 4, 3, registers=128),
    ('queries', True, 64): Tile(64, 64, 4, 3, registers=168, tile_sums=True),
}


def padded_head(dims: int) -> int:
    """Returns BLOCK_D: the power of two that holds a head's channels, at least what a matrix product takes."""
    return max(16, 1 << (dims - 1).bit_length())


def tile_of(kernel: str, dtype: torch.dtype, dims: int, hopper: bool) -> Tile:
    """Returns how a kernel is compiled.

    Args:
        kernel: One of ``KERNELS``.
        dtype: Of q, k and v.
        dims: d, channels of a head.
        hopper: Whether the GPU has compute capability 9.0.
    """
    key = kernel, dtype != torch.float32, padded_head(dims)
    return _ON_HOPPER.get(key, _TILES[key]) if hopper else _TILES[key]


def window(width: int) -> int:
    """Returns WP: the columns of a window such that windows cover a grid row with the least padding."""
    return min((16, 32, 8), key=lambda columns: math.ceil(width / columns) * columns * (1.05 if columns == 8 else 1))


def walks_rows(width: int) -> bool:
    """Tells whether to walk over windows of the grid: while they pad it by no more than about 30 %."""
    return math.ceil(width / window(width)) * window(width) <= 1.3 * width


def columns_of(kernel: str, tile: Tile, width: int) -> int:
    """Returns WP for a kernel: wide windows where they divide the grid, which the forward pass gains from."""
    wide = 32 if kernel == 'forward' and width % 32 == 0 else window(width)
    return min(wide, tile.block_n)
