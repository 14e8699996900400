"""Chooses the tiles that each kernel is compiled for, by dtype, head dimension and grid.

Those for 64 channels in half precision were measured on an H200; the others were chosen by the compiler's report for
sm_80 and sm_90: no spills, shared memory of the smallest cards (99 KiB). The tests compile every one of them.
"""

from __future__ import annotations

import math
from typing import Dict, NamedTuple, Tuple

import torch

KERNELS = ('forward', 'queries', 'keys')
LARGEST_TOKENS = 1 << 20  # rows and columns of patches come from a float32 division, which is exact below this
PREFIX_BLOCK = 16  # prefix tokens in one tile: the smallest size of a matrix product
HEADS = (16, 32, 64, 128)  # padded numbers of channels


class Tile(NamedTuple):
    """How one kernel is compiled."""

    block_m: int  # queries
    block_n: int  # keys
    num_warps: int
    num_stages: int
    # Limit per thread; 0 leaves it to the assembler. With 168, three blocks of four warps share an SM; with 128, four.
    # 255 is the largest, for kernels where the assembler would take fewer registers and spill.
    registers: int = 0
    tile_sums: bool = False  # 'queries', windows: sums of a tile over grid rows only, those over columns after the loop


Key = Tuple[str, bool, int, bool]  # kernel, whether in half precision, padded head dimension, whether there is a bias

# With a bias tiles are smaller, because its addresses take registers. Exact float32 products do without tensor cores
# and take their operands from registers.
TILES: Dict[Key, Tile] = {
    ('forward', True, 16, False): Tile(64, 64, 4, 3),
    ('forward', True, 32, False): Tile(64, 64, 4, 3),
    ('forward', True, 64, False): Tile(64, 64, 4, 2),
    ('forward', True, 128, False): Tile(64, 32, 4, 2),
    ('queries', True, 16, False): Tile(64, 64, 4, 3, tile_sums=True),
    ('queries', True, 32, False): Tile(32, 32, 4, 3, tile_sums=True),
    ('queries', True, 64, False): Tile(32, 32, 4, 2, tile_sums=True),
    ('queries', True, 128, False): Tile(32, 32, 4, 2, tile_sums=True),
    ('keys', True, 16, False): Tile(64, 64, 4, 3),
    ('keys', True, 32, False): Tile(64, 64, 4, 3),
    ('keys', True, 64, False): Tile(64, 32, 4, 3),
    ('keys', True, 128, False): Tile(32, 32, 4, 2),
    ('forward', False, 16, False): Tile(64, 32, 8, 2),
    ('forward', False, 32, False): Tile(16, 16, 4, 1),
    ('forward', False, 64, False): Tile(32, 32, 8, 2),
    ('forward', False, 128, False): Tile(16, 16, 8, 1),
    ('queries', False, 16, False): Tile(32, 32, 4, 2),
    ('queries', False, 32, False): Tile(32, 32, 8, 1),
    ('queries', False, 64, False): Tile(32, 32, 8, 1),
    ('queries', False, 128, False): Tile(16, 16, 8, 1),
    ('keys', False, 16, False): Tile(32, 32, 4, 1),
    ('keys', False, 32, False): Tile(32, 32, 8, 1),
    ('keys', False, 64, False): Tile(32, 32, 8, 1),
    ('keys', False, 128, False): Tile(16, 32, 4, 1),
    **{('forward', True, dims, True): Tile(32, 32, 4, 2) for dims in HEADS},
    ('forward', True, 32, True): Tile(32, 16, 4, 2),
    **{('queries', True, dims, True): Tile(32, 16, 8, 1) for dims in HEADS},
    **{('keys', True, dims, True): Tile(64, 32, 4, 2) for dims in HEADS},
    ('keys', True, 128, True): Tile(32, 32, 4, 2),
    **{('forward', False, dims, True): Tile(32, 32, 8, 1) for dims in HEADS},
    ('forward', False, 16, True): Tile(16, 32, 8, 1),
    ('forward', False, 32, True): Tile(16, 16, 8, 1),
    ('forward', False, 128, True): Tile(16, 16, 8, 1),
    **{('queries', False, dims, True): Tile(16, 16, 8, 1) for dims in HEADS},
    ('queries', False, 128, True): Tile(16, 16, 8, 2),
    **{('keys', False, dims, True): Tile(16, 16, 8, 1) for dims in HEADS},
}
# Other tiles for Hopper (compute capability 9.0): for half precision with 64 channels the fastest of four each, as
# measured on an H200; the rest because the tile above spills there and this one does not.
ON_HOPPER: Dict[Key, Tile] = {
    ('forward', True, 64, False): Tile(64, 64, 4, 3, registers=128),
    ('queries', True, 64, False): Tile(64, 64, 4, 3, registers=168, tile_sums=True),
    ('keys', True, 64, False): Tile(64, 64, 4, 3),
    ('forward', True, 32, True): Tile(32, 16, 8, 2),
    ('forward', True, 128, False): Tile(64, 64, 4, 3),
    ('keys', True, 128, False): Tile(64, 64, 8, 2),
    ('forward', False, 32, False): Tile(16, 16, 8, 1),
    ('forward', False, 32, True): Tile(16, 16, 16, 1),
    ('keys', False, 64, False): Tile(16, 32, 4, 1),
    ('forward', False, 128, False): Tile(16, 16, 8, 2),
    ('queries', False, 128, False): Tile(16, 16, 8, 2, registers=255, tile_sums=True),
    ('queries', False, 128, True): Tile(16, 16, 8, 2, registers=255),
}


def padded_head(dims: int) -> int:
    """Returns BLOCK_D: the power of two that holds a head's channels, at least the smallest size of a product."""
    return max(16, 1 << (dims - 1).bit_length())


def tile_of(kernel: str, dtype: torch.dtype, dims: int, has_bias: bool, hopper: bool) -> Tile:
    """Returns the tile that a kernel is compiled for.

    Args:
        kernel: One of ``KERNELS``.
        dtype: The dtype of q, k and v.
        dims: d, channels of a head.
        has_bias: Whether other terms than the Gaussian are added to the logits.
        hopper: Whether the GPU has compute capability 9.0.
    """
    key = kernel, dtype != torch.float32, padded_head(dims), has_bias
    return ON_HOPPER.get(key, TILES[key]) if hopper else TILES[key]


def window(width: int) -> int:
    """Returns WP: the number of columns of a window with which windows cover a grid row with the least padding."""
    return min((16, 8), key=lambda columns: math.ceil(width / columns) * columns * (1.05 if columns == 8 else 1))


def walks_rows(width: int) -> bool:
    """Tells whether to walk over windows of the grid, which holds if they pad it by no more than about 30 %."""
    return math.ceil(width / window(width)) * window(width) <= 1.3 * width


def columns_of(kernel: str, tile: Tile, width: int) -> int:
    """Returns WP for a kernel: wide windows where they divide the grid, which makes the forward pass faster."""
    wide = 32 if kernel == 'forward' and width % 32 == 0 else window(width)
    return min(wide, tile.block_n)
