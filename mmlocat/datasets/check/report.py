"""Holds the findings of a data check, and renders them as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional, Sequence

from .sources import Advice

_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One error or remark about the data.

    Args:
        message: What was found, with examples.
        fix: The command that fixes it, or what to do.
        is_error: Whether training would fail or go wrong; otherwise it is a remark.
    """

    message: str
    fix: str = ''
    is_error: bool = True


@dataclass
class Report:
    """The findings about one data set of a config.

    Args:
        loaders: The config's data loaders that read it: 'train', 'val', 'test'.
        dataset: Its type.
        root: Its folder.
        advice: The commands that fix it.
        images: Number of images found; None if it could not be checked.
        labels: Number of these that have a label; None if labels are not files.
        official: Number of images of the official data set, if it is one.
        read: Number of samples opened.
        class_folders: Names of the folders whose order gives the labels; empty where labels come from elsewhere.
        findings: Errors and remarks.
    """

    loaders: List[str]
    dataset: str
    root: str
    advice: Advice = field(default_factory=Advice)
    images: Optional[int] = None
    labels: Optional[int] = None
    official: Optional[int] = None
    read: int = 0
    class_folders: List[str] = field(default_factory=list)
    findings: List[Finding] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The names of the data loaders, as shown to the user."""
        return ', '.join(self.loaders)

    @property
    def errors(self) -> List[Finding]:
        """The findings that are errors."""
        return [finding for finding in self.findings if finding.is_error]

    @property
    def remarks(self) -> List[Finding]:
        """The findings that are not errors."""
        return [finding for finding in self.findings if not finding.is_error]

    def error(self, message: str, fix: str = '') -> None:
        """Adds an error."""
        self.findings.append(Finding(message, fix))

    def remark(self, message: str, fix: str = '') -> None:
        """Adds a remark."""
        self.findings.append(Finding(message, fix, is_error=False))

    def some(self, text: str, names: Sequence[str], of: Optional[int], fix: str, where: str = '',
             is_error: bool = True) -> None:
        """Adds a finding about several files, with their number and examples; does nothing if ``names`` is empty.

        Args:
            text: The kind of the files, or of their fault.
            names: The files.
            of: The total number; None leaves it out.
            fix: See ``Finding``.
            where: Text that follows the number.
            is_error: See ``Finding``.
        """
        if names:
            number = f'{len(names):,}' + ('' if of is None else f' of {of:,}') + where
            self.findings.append(Finding(f'{text}: {number} ({examples(names)})', fix, is_error))


def examples(names: Sequence[str]) -> str:
    """Returns the first few of ``names`` and how many more there are."""
    more = len(names) - _EXAMPLES
    return ', '.join(names[:_EXAMPLES]) + (f' and {more:,} more' if more > 0 else '')


def _counted(number: int, word: str) -> str:
    return f'{number} {word}' if number == 1 else f'{number} {word}s'


def render(reports: Sequence[Report]) -> str:
    """Renders reports as text: a paragraph for each data set, and a last line that sums up."""
    lines = []
    for report in reports:
        lines.append(f'{report.title}: {report.dataset}{" in " if report.root else ""}{report.root}')
        if report.images is not None:
            official = '' if report.official is None else f' (officially {report.official:,})'
            labels = '' if report.labels is None else f', {report.labels:,} labels'
            lines.append(f'  {report.images:,} images{official}{labels}; {report.read:,} opened')
        for finding in report.findings:
            lines.append(f'  {"error" if finding.is_error else "remark"}: {finding.message}')
            if finding.fix:
                lines.append(f'    to mend it: {finding.fix}')
    lines.append(f'{_counted(sum(len(report.errors) for report in reports), "error")}, '
                 f'{_counted(sum(len(report.remarks) for report in reports), "remark")}.')
    return '\n'.join(lines)
