"""Figures that tests measure, for docs/reliability.md.

A test takes the fixture ``figure`` and calls ``figure(section, what, measured)``. ``pytest --record-figures`` keeps
what the run measured in ``tests/data/figures.json``, beside what other runs (soak tests) left there, and writes the
page anew. Without the option nothing is written. ``--only-figures`` leaves out the tests that measure none.
"""

import datetime
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / 'tests' / 'data' / 'figures.json'
PAGE = ROOT / 'docs' / 'reliability.md'
_FIGURES = pytest.StashKey()
_PASSED = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption('--record-figures', action='store_true',
                     help='keep the figures that tests measure, and write docs/reliability.md from them')
    parser.addoption('--only-figures', action='store_true', help='run only the tests that measure figures')


def pytest_configure(config):
    config.stash[_FIGURES] = []


def pytest_collection_modifyitems(config, items):
    if config.getoption('--only-figures'):
        others = [item for item in items if 'figure' not in getattr(item, 'fixturenames', ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.hookimpl(hookwrapper=True)  # the form that old releases of pytest know too
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == 'call':
        item.stash[_PASSED] = report.passed


@pytest.fixture
def figure(request):
    """Notes one measured figure: ``figure(section, what, measured)``; the last one of a name counts."""
    noted = []

    def note(section, what, measured):
        text = f'{measured:.3g}' if isinstance(measured, float) else str(measured)
        file = Path(request.node.fspath).relative_to(ROOT).as_posix()
        noted.append(dict(
            section=section, what=what, measured=text, test=f'{file}::{request.node.originalname}',
            date=datetime.date.today().isoformat(), soak=request.node.get_closest_marker('soak') is not None))

    yield note
    if request.node.stash.get(_PASSED, False):  # what a failing test measured is no figure
        request.config.stash[_FIGURES].extend(noted)


def pytest_sessionfinish(session):
    found = session.config.stash.get(_FIGURES, [])
    if not found or not session.config.getoption('--record-figures'):
        return
    from filelock import FileLock

    from mmlocat.utils import atomic_write
    with FileLock(str(STORE.with_suffix('.lock'))):  # workers of pytest-xdist each bring their own
        known = {(entry['section'], entry['what']): entry for entry in [*read_figures(), *found]}
        with atomic_write(STORE) as file:
            json.dump(sorted(known.values(), key=lambda entry: (entry['section'], entry['what'])), file, indent=1)
            file.write('\n')
        with atomic_write(PAGE) as file:
            file.write(fill(PAGE.read_text(encoding='utf-8'), read_figures()))


def read_figures():
    return json.loads(STORE.read_text()) if STORE.is_file() else []


def fill(page, figures):
    """Returns the page with the table of every section between its markers made anew."""
    for section in dict.fromkeys(entry['section'] for entry in figures):
        begin, end = f'<!-- figures: {section} -->', f'<!-- /figures: {section} -->'
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f'{PAGE.name} needs the lines {begin} and {end}, once each')
        rows = [f'| {entry["what"]} | {entry["measured"]} | {entry["date"]} | `{entry["test"]}`'
                f'{" (soak)" if entry["soak"] else ""} |' for entry in figures if entry['section'] == section]
        table = '\n'.join(['| what | measured | date | test |', '| --- | --- | --- | --- |', *rows])
        page = f'{page.split(begin)[0]}{begin}\n{table}\n{end}{page.split(end)[1]}'
    return page
