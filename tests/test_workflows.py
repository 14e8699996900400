"""GitHub's workflows do nothing of their own: they call targets of the Makefile, which exist."""

import re
import subprocess

import pytest
import yaml

from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
SETUP = {'actions/checkout', 'actions/setup-python', 'actions/cache', 'actions/upload-artifact'}


def targets():
    return set(re.findall(r'^([a-z][\w-]*):', (ROOT / 'Makefile').read_text(), re.MULTILINE))


def steps(path):
    workflow = yaml.safe_load(path.read_text())
    for name, job in workflow['jobs'].items():
        assert job['runs-on'] and job['steps'], name
        yield from job['steps']


def test_what_ci_must_run_is_in_a_workflow():
    assert [path.stem for path in WORKFLOWS] == ['lint', 'package', 'tests']
    run = {step['run'] for path in WORKFLOWS for step in steps(path) if 'run' in step}
    wanted = ('lint', 'test', 'test-stamps', 'test-soak', 'test-torch', 'test-openmmlab', 'package')
    assert {f'make {name}' for name in wanted} <= run


def test_every_version_of_pytorch_in_the_makefile_is_tested():
    """Each named in README.md; the oldest and the newest by jobs of their own, the others by the matrix."""
    versions = re.search(r'^TORCH_AND_VISION := (.*)$', (ROOT / 'Makefile').read_text(), re.MULTILINE).group(1).split()
    versions = [pair.split('/')[0] for pair in versions]
    jobs = yaml.safe_load((ROOT / '.github' / 'workflows' / 'tests.yml').read_text())['jobs']
    assert jobs['torch']['strategy']['matrix']['torch'] == versions[1:-1]
    rows = re.findall(r'^\| (\d+\.\d+\.\d+) \|', (ROOT / 'README.md').read_text(encoding='utf-8'), re.MULTILINE)
    assert rows == versions


def test_another_pytorch_gets_what_goes_with_it():
    def make(version, *options):
        return subprocess.run(['make', *options, 'test-torch', f'TORCH={version}'], cwd=ROOT, capture_output=True,
                              text=True)

    steps = {version: make(version, '-n', '-W', 'setup.py').stdout for version in ('2.1.2', '2.6.0', '2.14.1')}
    assert 'torch==2.6.0 torchvision==0.21.0 "numpy<2.4"' in steps['2.6.0']
    assert 'torch==2.14.1 torchvision==0.29.1' in steps['2.14.1'] and 'numpy<' not in steps['2.14.1']
    assert 'mmcv==2.1.0' in steps['2.1.2'] and 'onedl' not in steps['2.1.2']
    unknown = make('2.5.0')
    assert unknown.returncode and "No torchvision is known for PyTorch '2.5.0'" in unknown.stderr
    assert not (ROOT / '.venv-torch-2.5.0').exists()


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_targets_that_exist(path):
    workflow = yaml.safe_load(path.read_text())
    triggers = workflow.get('on', workflow.get(True))  # YAML 1.1 reads the key `on` as true
    assert {'push', 'pull_request'} <= set(triggers)
    for step in steps(path):
        assert ('run' in step) != ('uses' in step), step
        if 'run' in step:
            command, target = step['run'].split()
            assert command == 'make' and target in targets(), step['run']
            result = subprocess.run(['make', '-n', target], cwd=ROOT, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
        else:
            name, version = step['uses'].split('@')
            assert name in SETUP and re.fullmatch(r'v\d+', version), step['uses']


def test_targets_are_declared_phony():
    text = (ROOT / 'Makefile').read_text()
    phony = set(re.search(r'^\.PHONY: (.*)$', text, re.MULTILINE).group(1).split())
    assert phony == targets()


def test_every_skip_says_why():
    """`make test-openmmlab` lists skips (-ra), each with its reason; importorskip finds its own."""
    bare = []
    for path in (ROOT / 'tests').rglob('*.py'):
        text = path.read_text()
        for call in re.finditer(r'pytest\.(skip|mark\.skip|mark\.skipif)\(', text):
            inside = _argument(text, call.end())
            says = 'reason=' in inside or (call.group(1) == 'skip' and inside.strip())
            if not says:
                bare.append(f'{path.relative_to(ROOT)}: {call.group()}{inside})')
        if re.search(r'^@pytest\.mark\.skip$', text, re.MULTILINE):
            bare.append(f'{path.relative_to(ROOT)}: @pytest.mark.skip')
    assert not bare, '\n'.join(bare)
    assert '-ra' in (ROOT / 'pyproject.toml').read_text()


def _argument(text, begin):
    depth, end = 1, begin
    while depth:
        depth += {'(': 1, ')': -1}.get(text[end], 0)
        end += 1
    return text[begin:end - 1]
