"""Finds the nearest rows of a memory by inner product, exactly and in bounded memory."""

from __future__ import annotations

import importlib.util
from typing import Tuple

import torch
from torch import Tensor

# The search holds one block of similarities: 512 queries x 65,536 rows in float32 are 128 MiB.
QUERY_BLOCK = 512
MEMORY_BLOCK = 65536
BACKENDS = ('auto', 'torch', 'faiss')


def nearest(memory: Tensor, queries: Tensor, num_neighbours: int, backend: str = 'auto') -> Tuple[Tensor, Tensor]:
    """Finds the rows of a memory with the largest inner product with each query.

    The search is exact. The whole matrix of N queries x M rows never exists: 'torch' multiplies blocks of
    ``QUERY_BLOCK`` queries by blocks of ``MEMORY_BLOCK`` rows and keeps the best of each, so that it needs
    128 MiB beside its arguments and results, whatever M and N. It computes in float32.

    Args:
        memory: Features, shape (M, C).
        queries: Features, shape (N, C), on the same device.
        num_neighbours: Neighbours of a query; all M rows where the memory has fewer.
        backend: 'torch', 'faiss' (``IndexFlatIP`` on CPUs; it copies the memory), or 'auto': FAISS where it is
            installed and both tensors are on a CPU, else 'torch'.

    Returns:
        Inner products and row numbers, both of shape (N, min(num_neighbours, M)), the most similar first.

    Raises:
        ValueError: Shapes do not fit, the memory is empty, ``num_neighbours`` is not positive, or the back-end is
            unknown or not installed.
    """
    if memory.ndim != 2 or queries.ndim != 2 or memory.shape[1] != queries.shape[1]:
        raise ValueError(f'memory and queries must have shapes (M, C) and (N, C), got {tuple(memory.shape)} and '
                         f'{tuple(queries.shape)}')
    if len(memory) == 0:
        raise ValueError('the memory has no rows: no training image gave a feature')
    if num_neighbours < 1:
        raise ValueError(f'num_neighbours must be positive, got {num_neighbours}')
    if backend not in BACKENDS:
        raise ValueError(f'backend must be one of {", ".join(BACKENDS)}, got {backend!r}')
    installed = importlib.util.find_spec('faiss') is not None
    if backend == 'faiss' and not installed:
        raise ValueError("backend='faiss' needs the package faiss-cpu; 'torch' finds the same neighbours without it")
    count = min(num_neighbours, len(memory))
    on_cpu = memory.device.type == queries.device.type == 'cpu'
    if backend == 'faiss' or (backend == 'auto' and installed and on_cpu):
        return _nearest_by_faiss(memory, queries, count)
    blocks = [_nearest_of_block(memory, block, count) for block in queries.split(QUERY_BLOCK)]
    if not blocks:
        return queries.new_empty(0, count, dtype=torch.float32), queries.new_empty(0, count, dtype=torch.long)
    return torch.cat([similarity for similarity, _ in blocks]), torch.cat([rows for _, rows in blocks])


def _nearest_of_block(memory: Tensor, queries: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """Returns the best rows for one block of queries, merging the best of each block of the memory."""
    queries = queries.float()
    best = queries.new_empty(len(queries), 0)
    best_rows = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for start in range(0, len(memory), MEMORY_BLOCK):
        similarity = queries @ memory[start:start + MEMORY_BLOCK].float().T
        similarity, rows = similarity.topk(min(count, similarity.shape[1]), dim=1)
        best = torch.cat([best, similarity], dim=1)
        best_rows = torch.cat([best_rows, rows + start], dim=1)
        best, order = best.topk(min(count, best.shape[1]), dim=1)
        best_rows = best_rows.gather(1, order)
    return best, best_rows


def _nearest_by_faiss(memory: Tensor, queries: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """Returns the same by FAISS."""
    import faiss
    index = faiss.IndexFlatIP(memory.shape[1])
    index.add(memory.detach().float().cpu().contiguous().numpy())
    similarity, rows = index.search(queries.detach().float().cpu().contiguous().numpy(), count)
    return torch.from_numpy(similarity).to(queries.device), torch.from_numpy(rows).to(queries.device)
