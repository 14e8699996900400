"""The page of a report: Markdown from what the JSON holds, and one line a row for the terminal."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence

from ..report import markdown_head, markdown_row
from .targets import judge

Row = Mapping[str, Any]


def _text(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'NO'
    return f'{value:.3g}' if isinstance(value, float) else str(value).replace('|', '\\|')


def _milliseconds(value: Any) -> str:
    return '' if value is None else f'{value:.3f}' if value < 10 else f'{value:.1f}'


def _ratio(value: Any) -> str:
    return '' if value is None else f'{value:.2f}'


def _whole(value: Any) -> str:
    return '' if value is None else f'{value:.0f}'


def _mebibytes(value: Any) -> str:
    return '' if value is None else f'{value:.1f}'


class Column(NamedTuple):
    """A column of a part's table: its head, the figure it shows, and how."""

    head: str
    key: str
    show: Callable[[Any], str] = _text


_RATIO = [Column('ratio', 'ratio', _ratio), Column('low', 'low', _ratio), Column('high', 'high', _ratio)]
_CASE = [Column('size', 'arch'), Column('px', 'image'), Column('batch', 'batch'), Column('dtype', 'dtype'),
         Column('mode', 'mode'), Column('model', 'model')]
_CALL = [Column('grid', 'grid'), Column('batch', 'batch'), Column('heads', 'heads'), Column('dtype', 'dtype'),
         Column('pass', 'passes'), Column('back-end', 'backend')]
_SPEED = [Column('ms', 'ms', _milliseconds), *_RATIO]
_COMPILED = [*_CASE, *_SPEED, Column('eager ratio', 'eager_ratio', _ratio), Column('to own eager', 'to_eager', _ratio),
             Column('compiling, s', 'compile_seconds', _whole)]
_TABLES: Dict[str, List[Column]] = {
    'parity': [Column('back-end', 'backend'), Column('takes', 'takes'), Column('dtype', 'dtype'),
               Column('grid', 'grid'), Column('heads', 'heads'), Column('output', 'output'),
               Column('allowed', 'output_allowed'), Column('worst gradient', 'gradients'),
               Column('allowed', 'gradients_allowed'), Column('within', 'ok')],
    'attention': [*_CALL, Column('launch', 'launch'), *_SPEED],
    'memory': [*_CALL, Column('MiB', 'mib', _mebibytes), Column('ratio', 'ratio', _ratio)],
    'backbones': [*_CASE, *_SPEED, Column('images/s', 'images_per_second', _whole),
                  Column('growth MiB', 'mib', _whole)],
    'training': [Column('config', 'config'), Column('precision', 'precision'), Column('collectives', 'collectives'),
                 Column('batch', 'batch'), Column('images/s', 'images_per_second', _mebibytes),
                 Column('ms a step', 'ms', _milliseconds), Column('least', 'low_ms', _milliseconds),
                 Column('most', 'high_ms', _milliseconds), Column('of it loading', 'data_ms', _milliseconds),
                 Column('MiB', 'mib', _whole), Column('ratio', 'ratio', _ratio)],
    'compiled': _COMPILED,
    'compiled-whole': _COMPILED,
}
_NOTES = {
    'parity': 'Largest errors against `dense` in float64, as shares of the largest exact entry: of the output, and of '
              'the worst of the gradients of q, k, v and the two layers. Batch 1.',
    'attention': '`plain` is `scaled_dot_product_attention`, on a GPU the flash kernel. Our side begins with q, k '
                 'and v, predicts variance and alpha, and has gradients of its layers. Medians; low and high are the '
                 'quartiles of the ratio, turn by turn. Eager: calls in a row for some 1 ms, after the L2 cache was '
                 'flushed. CUDA graph: replays, the L2 cache flushed before each.',
    'memory': 'By how much allocated memory grows at most during a call, output and gradients included.',
    'backbones': 'Against MMPretrain\'s `VisionTransformer`, both with weights of the dtype, noise for images. A '
                 'training step is forward, backward and fused AdamW. Growth: by how much allocated memory grows '
                 'during a call.',
    'training': 'Full fine-tuning by `tools/dist_train.sh CONFIG 1`, from random weights on synthetic images, without '
                'validation. Times from the training\'s log without its first line.',
    'compiled': '`torch.compile` of every block, default mode, static shapes. Ratio: to MMPretrain\'s ViT compiled in '
                'the same way; beside it the ratio of both eager, from the same turns.',
    'compiled-whole': '`torch.compile(model)`, default mode, static shapes.',
}
_CARDS = ('H100', 'H200')  # GH200 is one too
_FIRST = '# Performance on a GPU'
_ORIGIN = ('Written by `make gpu-report` from one run, never by hand: parity, time and memory beside plain attention '
           'and plain ViTs, both sides in turns. The JSON beside this page holds the same figures.')
_SMALL = ('**A small run: it shows that the report works. Its figures say nothing about speed, and no target can be '
          'read from them.**')


def describe(row: Row) -> str:
    """Returns a row as one line for a terminal."""
    return ', '.join(f'{key} {_text(value)}' for key, value in row.items() if value is not None)


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> List[str]:
    shown = [column for column in columns if any(row.get(column.key) is not None for row in rows)]
    words = [isinstance(next(row[c.key] for row in rows if row.get(c.key) is not None), str) for c in shown]
    heads, cells = [column.head for column in shown], [
        [column.show(row.get(column.key)) for column in shown] for row in rows]
    if any(row.get('problem') or row.get('note') for row in rows):
        heads, words = [*heads, 'remark'], [*words, True]
        for line, row in zip(cells, rows):
            line.append(_text(row.get('problem') or row.get('note')))
    return [markdown_row(heads), markdown_row(['---' if word else '---:' for word in words]), *map(markdown_row, cells)]


def _about(report: Mapping[str, Any]) -> List[str]:
    about = report['about']
    versions = ', '.join(f'{name} {version}' for name, version in about['versions'].items())
    rows = [('date', about['date']), ('card', about['card']), ('driver', about['driver']), ('CUDA', about['cuda']),
            ('versions', versions), ('commit', about['commit']),
            ('time', f'{report.get("seconds", 0):.0f} s of at most {report["budget_seconds"]:.0f}')]
    return [*markdown_head(('measured on', '')), *(markdown_row((name, _text(value))) for name, value in rows if value)]


def _parts(report: Mapping[str, Any]) -> List[str]:
    lines = markdown_head(('part', 'state', 'seconds', 'rows', 'without a figure'))
    for entry in report['parts'].values():
        state = entry['state'] + (f': {entry["reason"]}' if entry['reason'] else '')
        without = sum('problem' in row for row in entry['rows'])
        lines.append(markdown_row((entry['title'], _text(state), f'{entry["seconds"]:.0f}', str(len(entry['rows'])),
                                   str(without))))
    return lines


def _targets(report: Mapping[str, Any]) -> List[str]:
    lines = markdown_head(('target on an H100 or H200, bfloat16', 'verdict', 'limit', 'measured'))
    card = report['about']['card']
    if not any(name in card for name in _CARDS):
        lines = [f'**Not for this card ({card}): the targets are those of an H100 or H200.**', '', *lines]
    for target, measured, verdict in judge(report):
        limit = f'{"< " if target.below else "<= "}{target.limit:.2f}'
        lines.append(markdown_row((target.text, verdict, limit, '' if measured is None else f'{measured:.3f}')))
    return lines


def render(report: Mapping[str, Any]) -> str:
    """Returns the page.

    Args:
        report: As the JSON holds it.
    """
    lines = [_FIRST, '', _ORIGIN, '']
    lines += [_SMALL, ''] if report['small'] else []
    lines += [*_about(report), '', *_parts(report), '', '## Targets', '', *_targets(report), '']
    for name, entry in report['parts'].items():
        lines += [f'## {entry["title"]}', '']
        if name in _NOTES:
            lines += [_NOTES[name], '']
        if entry['state'] != 'done':
            lines += [f'**{entry["state"]}{": " if entry["reason"] else ""}{entry["reason"]}**', '']
        if entry['rows']:
            columns = _TABLES.get(name) or [Column(key, key) for key in entry['rows'][0] if key != 'problem']
            lines += [*_table(columns, entry['rows']), '']
    return '\n'.join(lines).rstrip() + '\n'
