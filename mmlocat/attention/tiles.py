"""Cuts a call of the streaming back-end into tiles, of sizes that were tuned by measurement."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

from torch import Tensor

from .kernel import GaussianKernel, Grid


class Call(NamedTuple):
    """The settings that all tiles of one call share."""

    kernel: GaussianKernel
    grid: Grid
    num_prefix_tokens: int
    scale: float
    dropout_p: float
    seed: int
    shares: int  # threads among which a tile is divided


class Tiles(NamedTuple):
    """The largest number of scores in a tile on a CPU; tuned on the processor that docs/performance.md names."""

    merged: int  # for a tile of several heads or batch elements
    split: int  # for a tile of part of a head
    keys_split: bool  # whether a tile of part of a head may hold only some of the keys


FORWARD = Tiles(merged=1 << 20, split=1 << 22, keys_split=False)
BACKWARD = Tiles(merged=15 << 14, split=1 << 19, keys_split=True)
MIN_QUERIES = 384  # least queries of a tile of part of a head: with fewer, matrices are thin and slow
QUERIES = 1024  # queries assumed in a tile where keys are cut too, to choose how many keys it holds
# Scores of a tile on other devices: enough to keep them busy.
DEVICE_TILE = 1 << 24
UNIT = 64  # times the shares: the number of queries of a tile is a multiple of it
# From LARGE queries a call on, the CPU's fused attention works on slices of 256 instead of 64, which is a fifth faster
# if threads get equally many slices.
LARGE, SLICE = 768, 256
FACTORS = 1 << 19  # the most numbers in the Gaussians' factors that are evaluated at once for several heads
MAX_SHARES = 8  # limits the size of a tile on machines with many cores


class Plan(NamedTuple):
    """The tiles of a call; ``plan`` returns it."""

    groups: List[Tuple[slice, slice]]  # batch elements and heads
    blocks: List[slice]  # queries; prefix tokens go with the first
    bands: List[Tuple[slice, slice]]  # keys, prefix tokens with the first, and the rows of the grid they come from
    size: int  # scores of the largest tile


def plan(query: Tensor, call: Call, tiles: Tiles) -> Plan:
    """Cuts a call with this query (B, h, N, d) into tiles of at most the given sizes."""
    batch, heads, num_tokens, _ = query.shape
    prefix, (height, width) = call.num_prefix_tokens, call.grid
    merged, split = (tiles.merged, tiles.split) if query.device.type == 'cpu' else (DEVICE_TILE, DEVICE_TILE)
    num_heads = min(heads, max(1, merged // num_tokens**2))
    num_batches = max(1, min(batch, merged // (num_tokens**2 * heads)))
    rows, queries = height, height * width
    if not tiles.keys_split and num_tokens >= LARGE and query.device.type == 'cpu':
        num_heads, queries = _large(queries, num_tokens, heads, call.shares, split)
    elif num_heads == 1 and num_tokens**2 > split:
        if tiles.keys_split:
            most = max(1, split // min(QUERIES, num_tokens) // width)
            rows = math.ceil(height / math.ceil(height / most))  # the fewest parts, nearly equal
        unit = UNIT * call.shares
        queries = max(1, round(max(MIN_QUERIES, split / (prefix + rows * width)) / unit)) * unit
    bands = [(slice(prefix + y * width if y else 0, prefix + min(y + rows, height) * width),
              slice(y, min(y + rows, height))) for y in range(0, height, rows)]
    blocks = [slice(prefix + first if first else 0, min(prefix + first + queries, num_tokens))
              for first in range(0, height * width, queries)]
    groups = [(slice(b, min(b + num_batches, batch)), slice(h, min(h + num_heads, heads)))
              for b in range(0, batch, num_batches) for h in range(0, heads, num_heads)]
    return Plan(groups, blocks, bands, num_batches * num_heads * blocks[0].stop * bands[0][0].stop)


def _large(patches: int, num_tokens: int, heads: int, shares: int, split: int) -> Tuple[int, int]:
    """Returns heads and queries of a tile such that slices are large and every thread gets equally many."""
    block = math.ceil(LARGE / (SLICE * shares)) * SLICE * shares
    if patches % block == 0 or heads < shares:
        return 1, block
    # Each thread gets its own head, unless that makes the tile too large.
    blocks = min(patches // LARGE, math.ceil(shares * patches * num_tokens / split))
    queries = math.ceil(patches / max(1, blocks))
    return (shares, queries) if shares * queries * num_tokens <= 2 * split else (1, block)
