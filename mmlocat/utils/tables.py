"""Prints and writes the tables of this package: with rich on a screen, or in Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, List, Union

from .files import atomic_write

if TYPE_CHECKING:  # imported only where it is used: Markdown does not need it, and a GPU machine may lack it
    from rich.console import Console

_WIDTH = 120  # characters of a line in a file or pipe


class Table:
    """Rows of cells under named columns.

    Args:
        columns: The names of the columns.
        title: A title above the table; none by default.
        words: Number of first columns that hold words, aligned left; the others hold figures, aligned right.
    """

    def __init__(self, columns: Iterable[str], title: str = '', words: int = 1) -> None:
        self.columns, self.title, self.words = list(columns), title, words
        self.rows: List[List[str]] = []

    def add(self, *cells: Any) -> None:
        """Appends a row; None becomes an empty cell, any other value its text.

        Raises:
            ValueError: There are more or fewer cells than columns.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f'a row of {len(cells)} cells for {len(self.columns)} columns ({", ".join(self.columns)})')
        self.rows.append(['' if cell is None else str(cell) for cell in cells])

    def markdown(self) -> str:
        """Returns the table in Markdown, its title as a paragraph before it."""
        heads = ['---' if index < self.words else '---:' for index in range(len(self.columns))]
        lines = [f'| {" | ".join(cells)} |' for cells in (self.columns, heads, *self.rows)]
        return '\n'.join([f'{self.title}\n', *lines] if self.title else lines)

    def print(self, markdown: bool = False) -> None:
        """Prints the table, by rich or in Markdown."""
        if markdown:
            print(self.markdown() + '\n', flush=True)
            return
        from rich import table
        shown = table.Table(title=self.title or None, title_justify='left')
        for index, column in enumerate(self.columns):
            words = index < self.words
            shown.add_column(column, justify='left' if words else 'right', no_wrap=not words, overflow='fold')
        for row in self.rows:
            shown.add_row(*row)
        console().print(shown, markup=False)

    def print_row(self, *cells: Any, markdown: bool = False, widths: Iterable[int] = ()) -> None:
        """Appends a row and prints it at once; prints title and column heads before the first row.

        So a long measurement that is interrupted has already shown its rows.

        Args:
            *cells: See ``add``.
            markdown: Whether to print Markdown instead of aligned columns.
            widths: Minimum width of each column in characters, for cells longer than the heads.
        """
        self.add(*cells)
        first = len(self.rows) == 1
        if markdown:
            print(self.markdown() if first else self.markdown().splitlines()[-1], flush=True)
            return
        least = list(widths) or [0] * len(self.columns)
        widths = [max(len(column), width) for column, width in zip(self.columns, least)]
        if first and self.title:
            print(self.title)
        for row in (self.columns, self.rows[-1]) if first else self.rows[-1:]:
            print('  '.join(cell.ljust(width) if index < self.words else cell.rjust(width)
                            for index, (cell, width) in enumerate(zip(row, widths))), flush=True)

    def write(self, path: Union[str, Path]) -> None:
        """Writes the table to a file, atomically and in Markdown."""
        with atomic_write(path) as file:
            file.write(self.markdown() + '\n')


def console(stderr: bool = False) -> Console:
    """Returns rich's console; wide enough for tables if the output is not a terminal."""
    from rich.console import Console
    made = Console(stderr=stderr)
    return made if made.is_terminal else Console(stderr=stderr, width=_WIDTH)
