"""Holds the findings of a data check, and renders them as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, NamedTuple, Optional, Sequence

from .sources import Source

_EXAMPLES = 3


class Finding(NamedTuple):
    """One error, which would make training fail or go wrong, or one remark about the data."""

    message: str  # with examples
    fix: str = ''  # what to do about it
    is_error: bool = True


@dataclass
class Report:
    """The findings about one data set of a config.

    Args:
        loaders: The config's data loaders that read it: 'train', 'val', 'test', 'memory'.
        dataset: Its type.
        root: Its folder.
        source: The official data set, if it is one.
        listed: Name of the file that lists its images, without suffix, such as 'train'; empty if there is none.
        images: Number of images found; None if it could not be checked.
        read: Number of samples opened.
        class_folders: Names of the folders whose order gives the labels; empty where labels come from elsewhere.
        findings: Errors and remarks.
    """

    loaders: List[str]
    dataset: str
    root: str
    source: Optional[Source] = None
    listed: str = ''
    images: Optional[int] = None
    read: int = 0
    class_folders: List[str] = field(default_factory=list)
    findings: List[Finding] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The names of the data loaders, as shown to the user."""
        return ', '.join(self.loaders)

    @property
    def official(self) -> Optional[int]:
        """Number of images of the official data set, if it is one."""
        if self.source is None:
            return None
        split = 'train' if self.loaders[0] in ('train', 'memory') else 'val'
        return self.source.counts[self.listed if self.listed in self.source.counts else split]

    @property
    def errors(self) -> List[Finding]:
        """The findings that are errors."""
        return [finding for finding in self.findings if finding.is_error]

    @property
    def remarks(self) -> List[Finding]:
        """The findings that are not errors."""
        return [finding for finding in self.findings if not finding.is_error]

    def advice(self, own: str = '') -> str:
        """Returns how to mend the files of an official data set, else ``own``, by default to name another place."""
        if self.source is not None:
            return f'docs/data.md, section {self.source.name}, has the layout and the commands that fetch the data'
        place = 'test_cfg.' if self.loaders[0] == 'memory' else ''
        return own or (f'--cfg-options {place}{self.loaders[0]}_dataloader.dataset.data_root=FOLDER names another '
                       'place; docs/data.md shows the layouts')

    def error(self, message: str, fix: str) -> None:
        """Adds an error."""
        self.findings.append(Finding(message, fix))

    def remark(self, message: str, fix: str = '') -> None:
        """Adds a remark."""
        self.findings.append(Finding(message, fix, is_error=False))

    def some(self, text: str, names: Sequence[str], of: int, fix: str) -> None:
        """Adds an error about several of ``of`` files, with their number and examples; does nothing for none."""
        if names:
            self.error(f'{text}: {len(names):,} of {of:,} ({examples(names)})', fix)


def examples(names: Sequence[str]) -> str:
    """Returns the first few of ``names`` and how many more there are."""
    more = len(names) - _EXAMPLES
    return ', '.join(names[:_EXAMPLES]) + (f' and {more:,} more' if more > 0 else '')


def render(reports: Sequence[Report]) -> str:
    """Renders reports as text: a paragraph for each data set, and a last line that sums up."""
    lines = []
    for report in reports:
        lines.append(f'{report.title}: {report.dataset}{" in " if report.root else ""}{report.root}')
        if report.images is not None:
            official = '' if report.official is None else f' (officially {report.official:,})'
            lines.append(f'  {report.images:,} images{official}; {report.read:,} opened')
        for finding in report.findings:
            lines.append(f'  {"error" if finding.is_error else "remark"}: {finding.message}')
            if finding.fix:
                lines.append(f'    to mend it: {finding.fix}')
    counts = (('error', sum(len(report.errors) for report in reports)),
              ('remark', sum(len(report.remarks) for report in reports)))
    lines.append(', '.join(f'{count} {word}{"" if count == 1 else "s"}' for word, count in counts) + '.')
    return '\n'.join(lines)
