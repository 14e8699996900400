"""Writes a board as Markdown, CSV, JSON, and between the markers of a README."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from mmlocat.utils import atomic_write
from mmlocat.utils.tables import Table

from .board import Row, Section, mean_and_spread
from .runs import Run, Training

_LEGEND = ('Measured: mean ± sample standard deviation over the runs. Blank: not measured. A marked row is not the '
           'recipe of its config.')


def _number(value: Optional[float], digits: int = 2, sign: bool = False) -> str:
    return '' if value is None else f'{value:{"+" if sign else ""}.{digits}f}'


def _measured(row: Row) -> str:
    return mean_and_spread(row.values) if row.supported else 'not yet supported'


def section_markdown(section: Section) -> str:
    """Returns a section as a Markdown table, with what makes its marked rows deviate below it.

    Columns that the whole section leaves blank are left out.
    """
    notes: List[str] = []
    body = []
    for row in section.rows:
        title = row.title
        if row.deviations:
            notes.append('; '.join(row.deviations))
            title += f' [{len(notes)}]'
        body.append([
            title, _number(row.published.value if row.published else None), _measured(row),
            _number(row.difference, sign=True), str(len(row.values) or ''),
            f'{row.parameters:,}' if row.parameters else '', f'{row.macs / 1e9:.4g}' if row.macs else '',
            _number(row.images_per_second, 0 if (row.images_per_second or 0) >= 10 else 2)
        ])
    header = ['model', f'published, {section.metric}', f'measured, {section.metric}', 'difference', 'runs',
              'parameters', 'G MACs', 'images/s']
    kept = [column for column in range(len(header)) if column in (0, 2) or any(line[column] for line in body)]
    table = Table([header[column] for column in kept])
    for line in body:
        table.add(*(line[column] for column in kept))
    return f'{table.markdown()}\n' + ''.join(f'\n[{number}] {note}.\n' for number, note in enumerate(notes, 1))


def provenance_markdown(sections: Sequence[Section]) -> str:
    """Returns what every measured row came from as a Markdown table; the JSON has all of it, run by run."""
    columns = ['config', 'config sha256', 'seeds', 'total batch', 'processes', 'device', 'commit', 'packages', 'tested',
               'checkpoint sha256']
    table = Table(columns, words=len(columns))
    for row in (row for section in sections for row in section.rows if row.runs):
        launches = [run.training.launches[-1] for run in row.runs if run.training]
        entries = [*launches, *(run.test for run in row.runs)]
        table.add(
            row.config, _join(entry['config'][:8] for entry in launches),
            _join(run.seed for run in row.runs), _join(entry['total_batch'] for entry in launches),
            _join(entry['processes'] for entry in launches), _join(entry['device'] for entry in entries),
            _join(_commit(entry['checkout']) for entry in entries), _join(_packages(entry) for entry in entries),
            _join(run.test['date'][:10] for run in row.runs),
            _join((run.test['checkpoint']['sha256'] or '')[:8] for run in row.runs))
    return f'{table.markdown()}\n'


def _join(values) -> str:
    return ', '.join(dict.fromkeys(str(value) for value in values if value is not None))


def _commit(checkout: Optional[dict]) -> str:
    return f'{checkout["commit"][:8]}{" with changes" if checkout["dirty"] else ""}' if checkout else 'no checkout'


def _packages(entry: dict) -> str:
    names = ('mmlocat', 'torch', 'mmengine', 'mmseg', 'mmsegmentation', 'mmpretrain')
    return ' '.join(f'{name} {version}' for wanted in names for name, version in entry['versions'].items()
                    if name.replace('onedl-', '') == wanted)


def summary_line(sections: Sequence[Section]) -> str:
    """Returns one sentence on when and on what the rows were measured."""
    entries = [run.test for section in sections for row in section.rows for run in row.runs]
    entries += [run.training.launches[-1] for section in sections for row in section.rows for run in row.runs
                if run.training]
    if not entries:
        return 'Nothing here has been measured.'
    days = sorted({entry['date'][:10] for entry in entries})
    when = days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'
    return (f'Measured {when} on {_join(entry["device"] for entry in entries)}; '
            f'{_join(_packages(entry) for entry in entries)}; '
            f'commit {_join(_commit(entry["checkout"]) for entry in entries)}.')


def to_markdown(sections: Sequence[Section], provenance: bool = True, picture: Optional[str] = None) -> str:
    """Returns the whole board as Markdown.

    Args:
        sections: From ``build_board``.
        provenance: Whether the table of provenance follows; else one sentence.
        picture: Path of the plot as the text should name it, or None.
    """
    parts = [f'![Published and measured results]({picture})\n'] if picture else []
    parts += [f'**{section.title}**\n\n{section_markdown(section)}' for section in sections]
    parts.append(f'{_LEGEND} {summary_line(sections)}\n')
    if provenance:
        parts.append(f'**Provenance**\n\n{provenance_markdown(sections)}')
    return '\n'.join(parts)


def _facts(row: Row) -> dict:
    """Returns what CSV and JSON both say of a row."""
    return dict(
        model=row.entry.model, size=row.entry.size, config=row.config,
        published=row.published.value if row.published else None, mean=row.mean, spread=row.spread,
        difference=row.difference, parameters=row.parameters, macs=row.macs, images_per_second=row.images_per_second)


def to_csv(sections: Sequence[Section]) -> str:
    """Returns one line a row; blank where nothing was published or measured."""
    columns = ('model size head dataset config metric published mean spread difference runs seeds parameters macs '
               'images_per_second status deviations').split()
    return _csv(columns, [dict(
        _facts(row), head=section.head or 'classifier', dataset=section.dataset, metric=section.metric,
        runs=len(row.values), seeds=' '.join(str(run.seed) for run in row.runs if run.seed is not None),
        status='' if row.supported else 'not yet supported', deviations='; '.join(row.deviations))
        for section in sections for row in section.rows])


def class_csv(sections: Sequence[Section]) -> str:
    """Returns the IoU of each class and run in percent, one line each; blank where the class does not occur."""
    return _csv(['config', 'seed', 'deviates', 'iou', 'class'], [
        {'config': row.config, 'seed': run.seed, 'deviates': bool(row.deviations), 'iou': iou, 'class': name}
        for section in sections for row in section.rows for run in row.runs
        for name, iou in zip(run.test['classes'] or (), run.test['class_iou'] or ())])


def _csv(columns: List[str], rows: List[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_json(sections: Sequence[Section]) -> str:
    """Returns everything, run by run, with full provenance."""
    return json.dumps([dict(
        title=section.title, head=section.head or 'classifier', dataset=section.dataset, metric=section.metric,
        rows=[dict(_facts(row), supported=row.supported, shape=row.shape, deviations=row.deviations,
                   runs=[_run(run) for run in row.runs]) for row in section.rows]) for section in sections], indent=1)


def _run(run: Run) -> dict:
    return dict(seed=run.seed, value=run.value, folder=str(run.folder), test=run.test, config=run.config,
                training=_training(run.training), pretraining=_training(run.pretraining))


def _training(training: Optional[Training]) -> Optional[dict]:
    if training is None:
        return None
    return dict(config=training.leaf.name, folder=str(training.folder), launches=training.launches,
                deviations=training.deviations)


def readme_texts(sections: Sequence[Section], readme: Path, picture: Optional[Path] = None) -> Dict[str, str]:
    """Returns what a README shows of a board, by marker: ``leaderboard:DATASET``.

    Args:
        sections: From ``build_board``.
        readme: The Markdown file.
        picture: The plot, if it is to be shown there.
    """
    link = os.path.relpath(picture, readme.parent) if picture else None
    return {f'leaderboard:{dataset}': to_markdown([section for section in sections if section.dataset == dataset],
                                                  provenance=False, picture=link)
            for dataset in dict.fromkeys(section.dataset for section in sections)}


def update_readme(path: Path, texts: Dict[str, str]) -> List[str]:
    """Replaces the text between ``<!-- MARKER -->`` and ``<!-- /MARKER -->``, atomically.

    Args:
        path: The Markdown file.
        texts: What goes there, by marker. Other markers are left alone.

    Returns:
        The markers whose text was replaced.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has none of the markers.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; --readme names a Markdown file with markers')
    content = path.read_text(encoding='utf-8')
    done = [marker for marker in texts if f'<!-- {marker} -->\n' in content and f'<!-- /{marker} -->' in content]
    if not done:
        first = next(iter(texts))
        raise ValueError(f'{path} has no pair of markers for {", ".join(texts)}; put, for example, '
                         f'"<!-- {first} -->" and "<!-- /{first} -->" on lines of their own')
    for marker in done:
        before, rest = content.split(f'<!-- {marker} -->\n', 1)
        after = rest.split(f'<!-- /{marker} -->', 1)[1]
        content = f'{before}<!-- {marker} -->\n{texts[marker]}<!-- /{marker} -->{after}'
    with atomic_write(path) as file:
        file.write(content)
    return done
