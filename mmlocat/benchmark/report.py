"""Tables for a terminal and for Markdown, and the plot of time and memory against N."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

from mmlocat.utils import atomic_write

if TYPE_CHECKING:  # imported where it is used: Markdown needs it not, and a GPU machine may not have it
    from rich.console import Console


def markdown_row(cells: Sequence[str]) -> str:
    """Returns one line of a Markdown table."""
    return f'| {" | ".join(cells)} |'


def markdown_head(columns: Sequence[str], words: int = 2) -> List[str]:
    """Returns the two lines that begin a Markdown table.

    Args:
        columns: Their names.
        words: So many of the first hold words; figures stand right.
    """
    return [markdown_row(columns), markdown_row(['---' if i < words else '---:' for i in range(len(columns))])]


def _console() -> Console:
    from rich.console import Console
    console = Console()
    return console if console.is_terminal else Console(width=120)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """Prints a table, as Markdown if asked for; the first two columns are words, the rest figures."""
    if markdown:
        print('\n'.join([f'{title}\n', *markdown_head(columns), *map(markdown_row, rows)]) + '\n')
        return
    from rich.table import Table
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify='left' if index < 2 else 'right', no_wrap=True)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


class RowPrinter:
    """Prints the rows of a table as they come, so that who interrupts a measurement keeps what it has found.

    Title and heads come with the first row.

    Args:
        title: What stands above.
        columns: Their names; the first two are words, the rest figures.
        widths: Characters of each column, at least.
        markdown: Whether to print Markdown.
    """

    def __init__(self, title: str, columns: Sequence[str], widths: Sequence[int], markdown: bool) -> None:
        self._title, self._columns, self._markdown = title, columns, markdown
        self._widths = [max(len(column), width) for column, width in zip(columns, widths)]
        self._begun = False

    def _print(self, cells: Sequence[str], style: str = '') -> None:
        from rich.table import Table
        table = Table.grid(padding=(0, 2))
        for index, width in enumerate(self._widths):
            table.add_column(justify='left' if index < 2 else 'right', no_wrap=True, min_width=width)
        table.add_row(*cells, style=style)
        _console().print(table)

    def add(self, row: Sequence[str]) -> None:
        """Prints one row."""
        if self._markdown:
            head = [] if self._begun else [f'{self._title}\n', *markdown_head(self._columns)]
            print('\n'.join([*head, markdown_row(row)]), flush=True)
        else:
            if not self._begun:
                _console().print(self._title, highlight=False, soft_wrap=True)
                self._print(self._columns, 'bold')
            self._print(row)
        self._begun = True


def milliseconds(seconds: float) -> str:
    """Formats a time with three figures."""
    value = seconds * 1e3
    return f'{value:.2f}' if value < 10 else f'{value:.1f}' if value < 100 else f'{value:.0f}'


def draw(path: Path, results: Sequence, heads: int) -> None:
    """Draws time and extra memory against the number of tokens, log-log, a panel for each pass.

    Args:
        path: Where the picture goes; the suffix says which kind.
        results: Rows of ``mmlocat.benchmark.attention``; those with other heads are left out.
        heads: The number of heads to show.
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    own = [result for result in results if result.case.heads == heads]
    passes: List[str] = list(dict.fromkeys(result.passes for result in own))
    names = list(dict.fromkeys(result.name for result in own))
    with_memory = any(result.extra is not None for result in own)
    figure, panels = pyplot.subplots(1 + with_memory, len(passes), squeeze=False, sharex=True, layout='constrained',
                                     figsize=(4.8 * len(passes), 3.6 * (1 + with_memory)))
    styles = dict(zip(names, zip(['#000000', '#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7'], 'os^Dvx')))
    for column, name_of_pass in enumerate(passes):
        for name in names:
            rows = [r for r in own if r.passes == name_of_pass and r.name == name]
            tokens = [r.case.tokens for r in rows]
            color, marker = styles[name]
            options = dict(color=color, marker=marker, markersize=5, label=name,
                           linewidth=2.4 if name == 'auto' else 1.2)
            panels[0, column].loglog(tokens, [r.time.seconds for r in rows], **options)
            if with_memory:
                shown = [(n, max(r.extra, 0.1)) for n, r in zip(tokens, rows) if r.extra is not None]
                if shown:
                    panels[1, column].loglog(*zip(*shown), **options)
        panels[0, column].set_title(f'{name_of_pass}, {heads} heads')
        panels[-1, column].set_xlabel('tokens N')
    panels[0, 0].set_ylabel('seconds')
    if with_memory:
        panels[1, 0].set_ylabel('MiB beyond inputs, outputs, gradients')
    panels[0, 0].legend(frameon=False, fontsize=8)
    tokens = sorted({r.case.tokens for r in own})
    for panel in panels.flat:
        panel.grid(True, which='major', alpha=0.3)
        # The measured sizes; the powers of ten and what lies between them overlap.
        panel.set_xticks(tokens, [str(n) for n in tokens])
        panel.set_xticks([], minor=True)
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, dpi=150, format=path.suffix.lstrip('.') or 'png')
    pyplot.close(figure)
