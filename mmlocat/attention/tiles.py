"""Cuts a call of the streaming back-end into tiles, whose sizes were measured."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

import torch
from torch import Tensor

from .kernel import GaussianKernel, Grid


class Call(NamedTuple):
    """What does not change over the tiles of one call."""

    kernel: GaussianKernel
    grid: Grid
    num_prefix_tokens: int
    scale: float
    dropout_p: float
    seed: int
    shares: int  # threads among which a tile is divided


class Tiles(NamedTuple):
    """Scores that one tile may hold, on a CPU; measured on the processor that docs/performance.md names."""

    merged: int  # while several heads or batch elements fit into one tile
    split: int  # while one head is cut into several
    keys_split: bool  # a tile of one head may hold some of the keys only


FORWARD = Tiles(merged=1 << 20, split=1 << 22, keys_split=False)
BACKWARD = Tiles(merged=15 << 14, split=1 << 19, keys_split=True)
MIN_QUERIES = 384  # of a tile while one head is cut: fewer make thin matrices
QUERIES = 1024  # the same, where keys are cut too
# Elsewhere: what keeps the device busy.
DEVICE_TILE = 1 << 24
UNIT = 64  # of queries, times the shares
# From so many queries a call on, the CPU's fused attention works on slices of 256 instead of 64: a fifth faster, if the
# slices can be shared out evenly.
LARGE, SLICE = 768, 256
FACTORS = 1 << 19  # numbers that the Gaussians' factors of several heads may be, evaluated at once
MAX_SHARES = 8  # bounds a tile on machines with many cores


class Plan(NamedTuple):
    """What ``plan`` returns."""

    groups: List[Tuple[slice, slice]]  # batch elements and heads
    blocks: List[slice]  # queries; prefix tokens go with the first
    bands: List[Tuple[slice, slice]]  # keys, prefix tokens with the first, and the rows of the grid they come from
    size: int  # scores of the largest tile


def shares_of(device: torch.device) -> int:
    """Returns among how many threads a tile is divided."""
    return min(torch.get_num_threads(), MAX_SHARES) if device.type == 'cpu' else 1


def plan(query: Tensor, call: Call, tiles: Tiles) -> Plan:
    """Cuts a call into tiles.

    Args:
        query: Shape (B, h, N, d).
        call: Gives the grid and the prefix tokens.
        tiles: How large tiles may be.
    """
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
            rows = _even(height, max(1, split // min(QUERIES, num_tokens) // width))
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
    """Returns heads and queries a tile such that slices are large and every thread gets as many."""
    block = math.ceil(LARGE / (SLICE * shares)) * SLICE * shares
    if patches % block == 0 or heads < shares:
        return 1, block
    # Each thread has a head of its own, unless that makes too large a tile.
    blocks = min(patches // LARGE, math.ceil(shares * patches * num_tokens / split))
    queries = math.ceil(patches / max(1, blocks))
    return (shares, queries) if shares * queries * num_tokens <= 2 * split else (1, block)


def _even(length: int, size: int) -> int:
    """Returns the largest of the even parts, none above ``size``, that a length is cut into."""
    return math.ceil(length / math.ceil(length / size))
