"""Every command of docs/own_data.md runs, in the page's order, with a training of two iterations."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.helpers.tool_runner import run_tool

PAGE = (ROOT / 'docs' / 'own_data.md').read_text(encoding='utf-8')
COMMANDS = [line for block in re.findall(r'^```bash\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]
TOOL = (ROOT / 'tools' / 'data' / 'new_config.py').read_text(encoding='utf-8')


def run(command, monkeypatch):
    python, script, *arguments = shlex.split(command)
    assert python == 'python'
    if script.endswith('new_config.py'):
        arguments += ['--workers', '0']  # processes take longer to start than these images to load
    monkeypatch.setenv('MPLBACKEND', 'agg')
    run_tool(ROOT / script, *arguments)


def follow(commands, tmp_path, monkeypatch, capfd):
    """Runs commands one after another; returns what they said."""
    monkeypatch.chdir(tmp_path)
    for command in commands:
        run(command, monkeypatch)
    return capfd.readouterr().out


def test_segmentation(tmp_path, monkeypatch, capfd):
    commands = [re.sub(r'(?<=--length )40|(?<=iter_)40', '2', line) for line in COMMANDS if 'shapes' in line]
    assert len(commands) == 6 and sum('2' in line for line in commands) >= 3
    said = follow(commands, tmp_path, monkeypatch, capfd)
    assert 'no validation split was found: 8 of 40 samples' in said and '0 errors, 0 remarks.' in said
    # The commands that the tool prints are the page's.
    assert all(f'  {command}\n' in said for command in commands[2:5]) and '1 of 1 done' in said
    assert (tmp_path / 'work_dirs' / 'shapes' / 'iter_2.pth').is_file()


def test_classification(tmp_path, monkeypatch, capfd):
    commands = [line for line in COMMANDS if 'kinds' in line]
    assert len(commands) == 6 and len(COMMANDS) == 12
    said = follow(commands, tmp_path, monkeypatch, capfd)
    assert all(f'  {command}\n' in said for command in commands[2:5]) and '0 errors, 0 remarks.' in said
    assert (tmp_path / 'work_dirs' / 'kinds' / 'epoch_2.pth').is_file()


def test_the_options_that_the_page_names_are_there():
    options = set(re.findall(r'`(--[\w-]+)', PAGE))
    assert len(options) >= 7 and not [option for option in options if f"'{option}'" not in TOOL]


@pytest.mark.parametrize('task', ['seg', 'cls'])
def test_the_example_does_not_write_into_a_folder_of_yours(task, tmp_path):
    with pytest.raises(SystemExit):
        run_tool('data/example.py', tmp_path, '--task', task)
    assert not list(tmp_path.iterdir())
