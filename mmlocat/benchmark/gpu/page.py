"""Renders a report: a Markdown page from the JSON, and one line for each row in the terminal."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from mmlocat.utils.tables import Table

from .targets import judge

Row = Mapping[str, Any]
_CARDS = ('H100', 'H200')  # also found in 'GH200'
_ORIGIN = ('For those who want to know what GAug costs on a GPU, in time and memory. Written by `make gpu-report`, '
           'never by hand, from one run, or from an interrupted one and the next with the same code, versions and '
           'driver: parity, time and memory beside plain attention and plain ViTs, both sides in turns. The JSON '
           'beside this page holds the same figures.')
_SMALL = ('**A small run: it shows that the report works. Its figures say nothing about speed, and no target can be '
          'read from them.**')


def _text(value: Any) -> str:
    """Formats a value for tables: times and ratios with one or three decimals, small errors with two digits."""
    if not isinstance(value, float):
        return '' if value is None else str(value).replace('|', '\\|')
    return f'{value:.1f}' if value >= 100 else f'{value:.3f}' if value >= 0.1 or not value else f'{value:.2g}'


def describe(row: Row) -> str:
    """Returns a row as one line for a terminal."""
    return ', '.join(f'{key} {_text(value)}' for key, value in row.items() if value is not None)


def _rows(rows: Sequence[Row]) -> Table:
    """Returns a part's table: a column for every key that any of its rows has, remarks last."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    keys = sorted(keys, key=lambda key: key in ('problem', 'note'))
    table = Table((key.replace('_', ' ') for key in keys), words=len(keys))
    for row in rows:
        table.add(*(_text(row.get(key)) for key in keys))
    return table


def _targets(report: Mapping[str, Any]) -> Table:
    card = report['about']['card']
    title = '' if any(name in card for name in _CARDS) else (
        f'**Not for this card ({card}): the targets are those of an H100 or H200.**')
    table = Table(('target on an H100 or H200, bfloat16', 'verdict', 'limit', 'measured'), title, words=2)
    for target, measured, verdict in judge(report):
        table.add(target.text, verdict, f'<= {target.limit:.2f}', _text(measured))
    return table


def render(report: Mapping[str, Any]) -> str:
    """Returns the page.

    Args:
        report: The content of the JSON.
    """
    about = dict(report['about'])
    about['versions'] = ', '.join(f'{name} {version}' for name, version in about['versions'].items())
    blocks = ['# Performance on a GPU', _ORIGIN, *([_SMALL] if report['small'] else []),
              '\n'.join(f'- {name}: {value}' for name, value in about.items() if value),
              '## Targets', _targets(report).markdown()]
    for entry in report['parts'].values():
        blocks += [f'## {entry["title"]}', entry['note']]
        if entry['problem']:
            blocks.append(f'**{entry["problem"]}**')
        if entry['rows']:
            blocks.append(_rows(entry['rows']).markdown())
    return '\n\n'.join(blocks) + '\n'
