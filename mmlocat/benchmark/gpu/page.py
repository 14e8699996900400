"""Renders a report: a Markdown page from the JSON, and one line for each row in the terminal."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

from mmlocat.utils.tables import Table

from .targets import judge
from .worker import DONE

Row = Mapping[str, Any]

_NOTES = {
    'parity': 'Largest errors against `dense` in float64, as shares of the largest exact entry: of the output, and of '
              'the worst of the gradients of q, k, v and the two layers.',
    'attention': '`plain` is `scaled_dot_product_attention`, on a GPU the flash kernel. Our side begins with q, k '
                 'and v, predicts variance and alpha, and has gradients of its layers. Medians; low and high are the '
                 'quartiles of the ratio, turn by turn. Eager: calls in a row for some 1 ms, after the L2 cache was '
                 'flushed. CUDA graph: replays, the L2 cache flushed before each.',
    'memory': 'By how much allocated memory grows at most during a call, output and gradients included.',
    'backbones': 'Against MMPretrain\'s `VisionTransformer`, both with weights of the dtype, noise for images. A '
                 'training step is forward, backward and fused AdamW. MiB: by how much allocated memory grows '
                 'during a call.',
    'training': 'Full fine-tuning by `tools/dist_train.sh CONFIG 1`, from random weights on synthetic images, without '
                'validation. Times from the training\'s log without its first line.',
    'compiled': '`torch.compile` of every block, default mode, static shapes. Ratio: to MMPretrain\'s ViT compiled in '
                'the same way; beside it the ratio of both eager, from the same turns, and the time over its own '
                'eager time.',
    'compiled-whole': '`torch.compile(model)`, default mode, static shapes.',
}
_CARDS = ('H100', 'H200')  # also found in 'GH200'
_FIRST = '# Performance on a GPU'
_ORIGIN = ('Written by `make gpu-report` from one run, never by hand: parity, time and memory beside plain attention '
           'and plain ViTs, both sides in turns. The JSON beside this page holds the same figures.')
_SMALL = ('**A small run: it shows that the report works. Its figures say nothing about speed, and no target can be '
          'read from them.**')


def _text(value: Any) -> str:
    """Formats a value for tables: times and ratios with one or three decimals, small errors with two digits."""
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'NO'
    if not isinstance(value, float):
        return str(value).replace('|', '\\|')
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


def _about(report: Mapping[str, Any]) -> Table:
    about, table = report['about'], Table(('measured on', ''), words=2)
    versions = ', '.join(f'{name} {version}' for name, version in about['versions'].items())
    for name, value in (('date', about['date']), ('card', about['card']), ('driver', about['driver']),
                        ('CUDA', about['cuda']), ('versions', versions), ('commit', about['commit']),
                        ('time', f'{report.get("seconds", 0):.0f} s of at most {report["budget_seconds"]:.0f}')):
        if value:
            table.add(name, _text(value))
    return table


def _parts(report: Mapping[str, Any]) -> Table:
    table = Table(('part', 'state', 'seconds', 'rows', 'without a figure'), words=2)
    for entry in report['parts'].values():
        state = entry['state'] + (f': {entry["reason"]}' if entry['reason'] else '')
        table.add(entry['title'], _text(state), f'{entry["seconds"]:.0f}', len(entry['rows']),
                  sum('problem' in row for row in entry['rows']))
    return table


def _targets(report: Mapping[str, Any]) -> Table:
    card = report['about']['card']
    title = '' if any(name in card for name in _CARDS) else (
        f'**Not for this card ({card}): the targets are those of an H100 or H200.**')
    table = Table(('target on an H100 or H200, bfloat16', 'verdict', 'limit', 'measured'), title, words=2)
    for target, measured, verdict in judge(report):
        table.add(target.text, verdict, f'{"< " if target.below else "<= "}{target.limit:.2f}', _text(measured))
    return table


def render(report: Mapping[str, Any]) -> str:
    """Returns the page.

    Args:
        report: The content of the JSON.
    """
    blocks: List[str] = [_FIRST, _ORIGIN, *([_SMALL] if report['small'] else []), _about(report).markdown(),
                         _parts(report).markdown(), '## Targets', _targets(report).markdown()]
    for name, entry in report['parts'].items():
        blocks.append(f'## {entry["title"]}')
        if name in _NOTES:
            blocks.append(_NOTES[name])
        if entry['state'] != DONE:
            blocks.append(f'**{entry["state"]}{": " if entry["reason"] else ""}{entry["reason"]}**')
        if entry['rows']:
            blocks.append(_rows(entry['rows']).markdown())
    return '\n\n'.join(blocks) + '\n'
