"""docs/reliability.md: what tests measured, and nothing else."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers import figures


def test_the_page_is_what_the_tests_recorded():
    page = figures.PAGE.read_text(encoding='utf-8')
    assert figures.fill(page, figures.read_figures()) == page
    for entry in figures.read_figures():
        file, name = entry['test'].split('::')
        assert f'def {name}(' in (ROOT / file).read_text(encoding='utf-8'), f'{entry["test"]} is gone'


def test_every_test_that_measures_has_a_row():
    """Whoever adds one records it: ``pytest FILE --record-figures``."""
    recorded = {entry['test'] for entry in figures.read_figures()}
    measuring = set()
    for path in (ROOT / 'tests').rglob('test_*.py'):
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith('test_') and 'figure' in [
                    argument.arg for argument in node.args.args]:
                measuring.add(f'{path.relative_to(ROOT).as_posix()}::{node.name}')
    assert measuring and measuring <= recorded, f'not recorded: {sorted(measuring - recorded)}'


def test_a_run_keeps_its_figures_and_those_of_others(tmp_path, monkeypatch):
    """A whole pytest run on a copy: one figure is measured anew, one comes from an earlier run."""
    pytest.importorskip('filelock', reason='filelock, which the extra "demo" brings, is not installed')
    (tmp_path / 'tests' / 'data').mkdir(parents=True)
    (tmp_path / 'docs').mkdir()
    old = dict(section='A', what='old', measured='1', test='tests/test_b.py::test_b', date='2026-01-01', soak=True)
    (tmp_path / 'tests' / 'data' / 'figures.json').write_text(json.dumps([old]))
    (tmp_path / 'docs' / 'reliability.md').write_text('# P\n<!-- figures: A -->\n<!-- /figures: A -->\nend\n')
    (tmp_path / 'tests' / 'helpers').mkdir()
    (tmp_path / 'tests' / '__init__.py').touch()
    helper = Path('tests', 'helpers', 'figures.py')
    (tmp_path / helper).write_text((ROOT / helper).read_text())
    (tmp_path / 'tests' / 'conftest.py').write_text("pytest_plugins = ['tests.helpers.figures']\n")
    (tmp_path / 'tests' / 'test_a.py').write_text(
        'def test_a(figure):\n    figure("A", "new", 0.12345)\n'
        'def test_fails(figure):\n    figure("A", "wrong", 1)\n    assert False\n')
    for option in ([], ['--record-figures']):
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *option]
        assert subprocess.run(command, cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(tmp_path))).returncode == 1
        page = (tmp_path / 'docs' / 'reliability.md').read_text()
        assert ('| new | 0.123 |' in page) == bool(option)
    assert '| old | 1 | 2026-01-01 | `tests/test_b.py::test_b` (soak) |' in page and page.endswith('-->\nend\n')
    assert 'wrong' not in page


def test_a_section_without_markers_is_an_error():
    with pytest.raises(ValueError, match='figures: Elsewhere'):
        figures.fill('', [dict(section='Elsewhere')])
