"""What CONTRIBUTING.md tells people to type: the targets and the tests that it names are there."""

import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.helpers.forked import run_python

TEXT = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
COMMANDS = [line.split('  #')[0].strip() for block in re.findall(r'^```bash\n(.*?)^```', TEXT, re.DOTALL | re.MULTILINE)
            for line in block.splitlines() if line]


@pytest.mark.parametrize('command', [*COMMANDS, *re.findall(r'`(make [^`]+)`', TEXT)])
def test_a_command_starts(command):
    """``make`` says what it would run; pytest collects."""
    if command.startswith('make '):
        result = subprocess.run([*command.split(), '-n'], cwd=ROOT, capture_output=True, text=True)
    else:
        assert command.startswith('.venv/bin/python -m pytest ')
        result = run_python(*command.split()[1:], '--collect-only', '-q', '-p', 'no:cacheprovider', cwd=ROOT)
    assert result.returncode == 0 and result.stdout.strip(), result.stdout + result.stderr


def test_the_files_it_names_are_there():
    names = re.findall(r'`((?:tests|mmlocat|configs|tools)/[\w/.-]+)`', TEXT) + re.findall(r'\]\((\S+?)\)', TEXT)
    assert names and all((ROOT / name).exists() for name in names), names
