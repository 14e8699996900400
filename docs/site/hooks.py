"""What mkdocs does to the pages: sections of the README are put in, formulas become MathML, links stay inside."""

from __future__ import annotations

import re
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent.parent
_SECTION = re.compile(r'^<!-- README: (.+?) -->$', re.MULTILINE)
_OUTSIDE = re.compile(r'\[([^\]]*)\]\(\.\./[^)]*\)')  # links to files of the repository that the site does not hold
_DISPLAY = re.compile(r'^\$\$\n(.+?)\n\$\$$', re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r'(?<![\\$`\w])\$([^$\n`]+?)\$(?![\w$])')
_CODE = re.compile(r'(^```.*?^```$|`[^`\n]+`)', re.DOTALL | re.MULTILINE)


def readme_section(title: str, readme: str) -> str:
    """Returns a section of the README with its links as they are seen from docs/.

    Args:
        title: Its heading, or 'top' for what comes before the first one.
        readme: The whole text.

    Raises:
        ValueError: There is no such section.
    """
    parts = re.split(r'^## (.+)$', readme, flags=re.MULTILINE)
    sections = {'top': re.sub(r'^# .+\n', '', parts[0]), **dict(zip(parts[1::2], parts[2::2]))}
    if title not in sections:
        raise ValueError(f'README.md has no section {title!r}; it has {", ".join(sections)}')
    text = sections[title] if title == 'top' else f'## {title}\n{sections[title]}'
    text = re.sub(r'\[([^\]]*)\]\((?!http|#|docs/)[^)]*\)', r'`\1`', text)  # files that the site does not hold
    return text.replace('](docs/', '](').strip() + '\n'


def with_mathml(text: str) -> str:
    """Turns ``$$`` blocks and ``$...$`` into MathML, which browsers draw without any script; code is left alone."""
    pieces = _CODE.split(text)
    for index in range(0, len(pieces), 2):
        piece = _DISPLAY.sub(lambda found: f'<p>{convert(found[1].strip(), display="block")}</p>', pieces[index])
        # In a span, because Markdown takes a line that begins with <math> for a block.
        pieces[index] = _INLINE.sub(lambda found: f'<span>{convert(found[1])}</span>', piece)
    return ''.join(pieces)


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Called by mkdocs for each page before it becomes HTML."""
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    markdown = _SECTION.sub(lambda found: readme_section(found[1], readme), markdown)
    markdown = _OUTSIDE.sub(r'\1', markdown)
    return with_mathml(markdown) if page.file.src_uri == 'method.md' else markdown
