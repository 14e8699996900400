"""Holds the rows of a memory once: allocated before they come, filled in order, never joined or copied afterwards."""

from __future__ import annotations

from typing import List, Sequence

import torch
from torch import Tensor


class Bank:
    """Columns of rows, such as features and labels, in one allocation each.

    A bank takes ``rows`` times the bytes of a row, from its construction on a GPU; on a CPU the operating system gives
    the memory as rows come.

    Args:
        rows: The most rows that will come.
        like: A tensor for each column, shape (any, ...), whose other dimensions, type and device the column has.

    Raises:
        RuntimeError: The device has less memory than the rows need.
    """

    def __init__(self, rows: int, like: Sequence[Tensor]) -> None:
        self.rows, self.filled = rows, 0
        numbers = [column[:1].numel() for column in like]
        size = sum(rows * number * column.element_size() for number, column in zip(numbers, like))
        self.text = (f'up to {rows:,} rows of {" + ".join(f"{number:,}" for number in numbers)} numbers, '
                     f'{size / 2**30:.2f} GiB on {like[0].device}')
        try:
            self._columns = [torch.empty(rows, *column.shape[1:], dtype=column.dtype, device=column.device)
                             for column in like]
        except RuntimeError as error:
            raise RuntimeError(f'there is no room for a memory of {self.text}; bound it (test_cfg.size or '
                               'test_cfg.patches_per_image of RetrievalLoop), take fewer training images, or use a '
                               'device with more memory') from error

    def append(self, *columns: Tensor) -> None:
        """Writes the next rows, a tensor (n, ...) for each column."""
        end = self.filled + len(columns[0])
        for own, new in zip(self._columns, columns):
            own[self.filled:end] = new
        self.filled = end

    def columns(self) -> List[Tensor]:
        """Returns the rows that have come, a view of each column."""
        return [column[:self.filled] for column in self._columns]
