"""What CONTRIBUTING.md tells people to type: the targets and the tests that it names are there."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
COMMANDS = [line.split('  #')[0].strip() for block in re.findall(r'^```bash\n(.*?)^```', TEXT, re.DOTALL | re.MULTILINE)
            for line in block.splitlines() if line]


@pytest.mark.parametrize('command', [*COMMANDS, *re.findall(r'`(make [^`]+)`', TEXT)])
def test_a_command_starts(command):
    """``make`` says what it would run; pytest collects."""
    if command.startswith('make '):
        arguments = [*command.split(), '-n']
    else:
        assert command.startswith('.venv/bin/python -m pytest ')
        arguments = [sys.executable, *command.split()[1:], '--collect-only', '-q', '-p', 'no:cacheprovider']
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.strip(), result.stdout + result.stderr


def test_the_files_it_names_are_there():
    names = re.findall(r'`((?:tests|mmlocat|configs|tools)/[\w/.-]+)`', TEXT) + re.findall(r'\]\((\S+?)\)', TEXT)
    assert names and all((ROOT / name).exists() for name in names), names
