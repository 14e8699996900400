"""The suite where packages are not installed: files and tests that need them are skipped, each with its reason."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, child_environment
from tests.helpers import missing

ATTENTION = {path.name for path in (ROOT / 'tests' / 'attention').glob('test_*.py')}
EVERYTHING = tuple(module for module in missing._SOURCES if module not in ('safetensors', 'huggingface_hub'))


@pytest.fixture
def run_without(tmp_path):
    """Runs pytest in a process that finds none of some modules; returns the exit code and what it said."""

    def run(modules, *arguments):
        (tmp_path / 'absent.py').write_text(f'import sys\nsys.modules.update(dict.fromkeys({list(modules)!r}))\n')
        # Plugins of pytest that are installed would import what is taken away.
        environment = dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD='1',
                           PYTHONPATH=os.pathsep.join((str(ROOT), str(tmp_path))))
        result = subprocess.run([sys.executable, '-m', 'pytest', '-p', 'absent', '-p', 'no:cacheprovider', '-q',
                                 '-m', 'not soak', *arguments], cwd=ROOT, env=environment, capture_output=True,
                                text=True, timeout=200)
        return result.returncode, result.stdout + result.stderr

    return run


@pytest.mark.parametrize('modules', [missing.OPENMMLAB, pytest.param(EVERYTHING, marks=pytest.mark.soak)],
                         ids=['OpenMMLab', 'everything'])
def test_every_file_is_collected_or_skipped_with_a_reason(modules, run_without):
    code, said = run_without(modules, '--collect-only')
    assert code == 0 and 'rror' not in said.split('short test summary info')[1], said[-3000:]
    collected = {line.split('::')[0] for line in said.splitlines() if '::' in line}
    assert {file.rsplit('/', 1)[1] for file in collected if '/attention/' in file} == ATTENTION
    assert not any('/models/' in file or '/deploy/' in file for file in collected)
    reasons = [line for line in said.splitlines() if line.startswith('SKIPPED')]
    assert any('mmengine is not installed; the extra "onedl" of mmlocat brings it' in line for line in reasons)
    # Not one line a file: that would be what somebody reads over.
    assert len(reasons) <= 20 and all(' is not installed; ' in line for line in reasons)


def test_what_finds_out_later_is_skipped_too(run_without):
    """A fixture, a child process, a test that draws examples; and the rest of such files runs."""
    code, said = run_without(EVERYTHING, 'tests/tools/test_launch.py', 'tests/attention/test_kernel.py')
    assert code == 0 and ' passed' in said, said[-3000:]
    for module in ('mmengine', 'hypothesis'):
        assert f'{module} is not installed; ' in said


def test_an_error_of_another_kind_stays_one():
    def chained():
        try:
            raise ModuleNotFoundError(name='mmengine.config')
        except ImportError as error:
            raise ValueError('a config') from error

    with pytest.raises(ValueError) as caught:
        chained()
    assert (missing.reason_of(caught.value) is None) == ('mmengine' not in missing._ABSENT)
    assert missing.reason_of(ModuleNotFoundError(name='no_such_module')) is None
    assert missing.reason_of(ImportError()) is None and missing.reason_of(AssertionError()) is None


def test_the_target_installs_nothing():
    said = subprocess.run(['make', '-n', 'test-cuda', 'PYTHON=/somewhere/python', 'ARGS=-x'], cwd=ROOT, text=True,
                          capture_output=True, check=True, env=child_environment()).stdout
    assert said.split() == ['/somewhere/python', '-m', 'pytest', '-m', '"not', 'soak"', '-x']
