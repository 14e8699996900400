"""Every command of docs/own_data.md runs, in the page's order; most of them also in short."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.helpers.tool_runner import run_tool

PAGE = (ROOT / 'docs' / 'own_data.md').read_text(encoding='utf-8')
COMMANDS = [line for block in re.findall(r'^```bash\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]
SEGMENTATION, CLASSIFICATION = ([line for line in COMMANDS if name in line] for name in ('shapes', 'kinds'))
TOOL = (ROOT / 'tools' / 'data' / 'new_config.py').read_text(encoding='utf-8')


def follow(commands, tmp_path, monkeypatch, capfd):
    """Runs commands one after another; returns what they said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MPLBACKEND', 'agg')
    for command in commands:
        python, script, *arguments = shlex.split(command)
        assert python == 'python'
        # Processes take longer to start than these images to load.
        workers = ['--workers', '0'] if script.endswith('new_config.py') else []
        run_tool(ROOT / script, *arguments, *workers)
    said = capfd.readouterr().out
    # The commands that the tool prints are the page's; a picture is any of the validation split.
    assert all(f'  {command}\n' in said for command in commands[2:5])
    assert 'no validation split was found: 8 of 40 samples' in said and '0 errors, 0 remarks.' in said
    return said


def test_every_command_is_of_one_task():
    assert len(SEGMENTATION) == len(CLASSIFICATION) == 6 and [*SEGMENTATION, *CLASSIFICATION] == COMMANDS


def test_segmentation_up_to_the_training(tmp_path, monkeypatch, capfd):
    commands = [re.sub(r'(?<=--length )40|(?<=iter_)40', '2', line) for line in SEGMENTATION]
    assert sum(new != old for new, old in zip(commands, SEGMENTATION)) == 3
    follow(commands[:4], tmp_path, monkeypatch, capfd)
    assert (tmp_path / 'work_dirs' / 'shapes' / 'iter_2.pth').is_file()


def test_classification_up_to_the_test(tmp_path, monkeypatch, capfd):
    commands = [re.sub(r'(?<=--length )2|(?<=epoch_)2', '1', line) for line in CLASSIFICATION]
    said = follow(commands[:5], tmp_path, monkeypatch, capfd)
    assert (tmp_path / 'work_dirs' / 'kinds' / 'epoch_1.pth').is_file() and 'accuracy/top1' in said


@pytest.mark.soak
@pytest.mark.parametrize('commands, last', [
    (SEGMENTATION, 'shapes/iter_40.pth'), (CLASSIFICATION, 'kinds/epoch_2.pth')])
def test_the_whole_way(commands, last, tmp_path, monkeypatch, capfd):
    said = follow(commands, tmp_path, monkeypatch, capfd)
    assert (tmp_path / 'work_dirs' / last).is_file() and ('shapes' not in last or '1 of 1 done' in said)


def test_the_options_that_the_page_names_are_there():
    options = set(re.findall(r'`(--[\w-]+)', PAGE))
    assert len(options) >= 7 and not [option for option in options if f"'{option}'" not in TOOL]


def test_the_example_does_not_write_into_a_folder_of_yours(tmp_path):
    with pytest.raises(SystemExit):
        run_tool('data/example.py', tmp_path)
    assert not list(tmp_path.iterdir())
