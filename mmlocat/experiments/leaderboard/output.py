"""Writes a board as Markdown, JSON and a plot, and between the markers of a README."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence

from matplotlib.figure import Figure

from mmlocat.utils import atomic_write, check_folder
from mmlocat.utils.tables import Table

from .board import Row, mean_and_spread
from .names import metric
from .runs import Run

_LEGEND = ('Measured: mean ± sample standard deviation over the runs. Blank: not measured. A marked row is not the '
           'recipe of its config.')
_PACKAGES = ('mmlocat', 'torch', 'mmengine', 'mmsegmentation', 'mmpretrain')  # their OneDL builds too
# Okabe and Ito's colours, which colour-blind readers tell apart; the markers differ too.
_PUBLISHED, _MEASURED, _DEVIATING, _RUN = '#d55e00', '#0072b2', '#cc79a7', '#999999'


def _sections(rows: Sequence[Row]) -> Dict[str, List[Row]]:
    sections: Dict[str, List[Row]] = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    return sections


def section_markdown(rows: Sequence[Row]) -> str:
    """Returns the rows of a section as a Markdown table; below it, what makes marked ones deviate, and remarks.

    Columns that the whole section leaves blank are left out.
    """
    notes: List[str] = []
    body = []
    for row in rows:
        title = row.title + (' *' if row.remark else '')
        if row.deviations:
            notes.append('; '.join(row.deviations))
            title += f' [{len(notes)}]'
        body.append([
            title, '' if row.published is None else f'{row.published:.2f}',
            mean_and_spread(row.values),
            '' if None in (row.published, row.mean) else f'{row.mean - row.published:+.2f}', str(len(row.values) or ''),
            f'{row.parameters:,}' if row.parameters else '', f'{row.macs / 1e9:.4g}' if row.macs else ''
        ])
    unit = metric(rows[0].entry.head)[1]
    header = ['model', f'published, {unit}', f'measured, {unit}', 'difference', 'runs', 'parameters', 'G MACs']
    kept = [column for column in range(len(header)) if column in (0, 2) or any(line[column] for line in body)]
    table = Table([header[column] for column in kept])
    for line in body:
        table.add(*(line[column] for column in kept))
    remarks = dict.fromkeys(row.remark for row in rows if row.remark)
    return (f'{table.markdown()}\n' + ''.join(f'\n[{number}] {note}.\n' for number, note in enumerate(notes, 1))
            + ''.join(f'\n\\* {remark}\n' for remark in remarks))


def provenance(runs: Sequence[Run]) -> str:
    """Returns one sentence on when and on what runs were measured; the JSON has all of it, run by run."""
    entries = [*(run.test for run in runs), *(run.training.launches[-1] for run in runs if run.training)]
    if not entries:
        return 'Nothing here has been measured.'
    days = sorted(entry['date'][:10] for entry in entries)
    versions = (' '.join(f'{name} {version}' for wanted in _PACKAGES for name, version in entry['versions'].items()
                         if name.replace('onedl-', '') == wanted) for entry in entries)
    checkouts = [entry['checkout'] or dict(commit='unknown', dirty=False) for entry in entries]
    commits = (checkout['commit'][:8] + (' with changes' if checkout['dirty'] else '') for checkout in checkouts)
    return (f'Measured {" to ".join(dict.fromkeys([days[0], days[-1]]))} on '
            f'{_join(entry["device"] for entry in entries)}; {_join(versions)}; commit {_join(commits)}.')


def _join(values: Iterable) -> str:
    return ', '.join(dict.fromkeys(map(str, values)))


def to_markdown(rows: Sequence[Row], by_row: bool = True, picture: Optional[str] = None) -> str:
    """Returns the whole board as Markdown.

    Args:
        rows: From ``build_board``.
        by_row: Whether what every row came from follows; else one sentence for all.
        picture: Path of the plot as the text should name it, or None.
    """
    parts = [f'![Published and measured results]({picture})\n'] if picture else []
    parts += [f'**{title}**\n\n{section_markdown(own)}' for title, own in _sections(rows).items()]
    parts.append(f'{_LEGEND} {provenance([run for row in rows for run in row.runs])}\n')
    if by_row:
        parts.append('**Provenance**\n')
        for row in (row for row in rows if row.runs):
            digests = _join((run.test['checkpoint']['sha256'] or 'unknown')[:8] for run in row.runs)
            parts.append(f'- {row.config}, seeds {_join(run.seed for run in row.runs)}, SHA-256 of the checkpoints '
                         f'{digests}. {provenance(row.runs)}')
    return '\n'.join(parts)


def to_json(rows: Iterable[Row]) -> str:
    """Returns everything, run by run, with full provenance and the IoU of each class."""
    return json.dumps([
        dict(vars(row), entry=row.entry._asdict(),
             runs=[dict(asdict(run), seed=run.seed, value=run.value) for run in row.runs])
        for row in rows], indent=1, default=str)


def readme_texts(rows: Sequence[Row], readme: Path, picture: Optional[Path] = None) -> Dict[str, str]:
    """Returns what a README shows of a board and its plot, by marker: ``leaderboard:DATASET``."""
    link = os.path.relpath(picture, readme.parent) if picture else None
    return {f'leaderboard:{dataset}': to_markdown([row for row in rows if row.entry.dataset == dataset], False, link)
            for dataset in dict.fromkeys(row.entry.dataset for row in rows)}


def read_readme(path: Path) -> str:
    """Returns the text of the Markdown file that ``--readme`` names, which must be one that can be replaced.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Its folder cannot be written.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; --readme names a Markdown file with markers')
    check_folder('the folder of --readme', path.parent)
    return path.read_text(encoding='utf-8')


def find_markers(path: Path, markers: Sequence[str]) -> List[str]:
    """Returns those of the markers between which ``update_readme`` can replace a text.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has none of the markers.
    """
    content = read_readme(path)
    found = [marker for marker in markers if f'<!-- {marker} -->\n' in content and f'<!-- /{marker} -->' in content]
    if not found:
        raise ValueError(f'{path} has no pair of markers for {", ".join(markers)}; put, for example, '
                         f'"<!-- {markers[0]} -->" and "<!-- /{markers[0]} -->" on lines of their own')
    return found


def update_readme(path: Path, texts: Dict[str, str]) -> List[str]:
    """Replaces the texts between ``<!-- MARKER -->`` and ``<!-- /MARKER -->``; returns the markers that it found.

    Args:
        path: A Markdown file.
        texts: What goes there, by marker.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has none of the markers.
    """
    content, done = read_readme(path), find_markers(path, list(texts))
    for marker in done:
        before, begin, rest = content.partition(f'<!-- {marker} -->\n')
        _, end, after = rest.partition(f'<!-- /{marker} -->')
        content = before + begin + texts[marker] + end + after
    with atomic_write(path) as file:
        file.write(content)
    return done


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draws a panel a section: what was published, single runs, their mean and sample spread.

    Args:
        path: Where the picture goes; the suffix says which kind.
        rows: From ``build_board``.

    Raises:
        ValueError: No row has a number.
    """
    panels = _sections([row for row in rows if row.values or row.published])
    if not panels:
        raise ValueError('nothing to draw: no row is published or measured')
    counts = [len(own) for own in panels.values()]
    height = 0.9 * len(panels) + 0.32 * sum(counts) + 0.7
    figure, handles = Figure(figsize=(7.5, height)), {}
    axes = figure.subplots(len(panels), squeeze=False, gridspec_kw=dict(height_ratios=[n + 1.5 for n in counts]))
    for axis, (title, own) in zip(axes[:, 0], panels.items()):
        for place, row in enumerate(own):
            if row.published is not None:
                axis.plot(row.published, place, 'D', markersize=7, markerfacecolor='none',
                          markeredgecolor=_PUBLISHED, markeredgewidth=1.5, label='published')
            axis.plot(row.values, [place] * len(row.values), '|', markersize=9, color=_RUN, label='single run')
            if row.mean is not None:
                style = dict(fmt='X', color=_DEVIATING, label='measured, deviates from its recipe') if row.deviations \
                    else dict(fmt='o', color=_MEASURED, label='measured, mean ± sample spread')
                axis.errorbar(row.mean, place, xerr=row.spread, markersize=6, capsize=3, **style)
        axis.set_yticks(range(len(own)), [row.title for row in own])
        axis.set_ylim(len(own) - 0.4, -0.6)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel(metric(own[0].entry.head)[1].replace(' %', ' (%)'))
        axis.grid(True, axis='x', alpha=0.3)
        handles.update((label, handle) for handle, label in zip(*axis.get_legend_handles_labels()))
    figure.legend(handles.values(), handles.keys(), loc='lower center', ncol=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.6 / height, 1, 1))
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, dpi=130, format=path.suffix.lstrip('.') or 'png')
