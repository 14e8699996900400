"""The command ``mmlocat``: what it finds, how soon it refuses, what it completes."""

import json
import os
import subprocess
import sys

import pytest

from mmlocat.__main__ import COMMANDS, main
from tests.conftest import ROOT

# Wrong command lines, and what is said of them.
WRONG = {
    ('trian', ): "no command is named 'trian'; did you mean train?",
    ('xyz', ): "no command is named 'xyz'; mmlocat --help lists them",
    ('--foo', ): '--foo is no option; mmlocat --help lists commands',
    ('app', '--port', '70000'): '--port must be at most 65535, got 70000',
    ('benchmark', 'atention'): "no command is named 'atention'; did you mean attention?",
    ('train', 'locatvit_imagenet', '--foo'): 'mmlocat train: error: unrecognized arguments: --foo',
    ('train', 'locatvit_imagenet', '--cfg-options', 'a'): "--cfg-options takes KEY=VALUE, got 'a'",
    ('test', 'locatvit_imagenet'): 'mmlocat test: error: the following arguments are required: checkpoint',
    ('demo', '--seeds', '0'): '--seeds must be at least 1, got 0',
    ('predict', 'a.png'): 'mmlocat predict: error: the following arguments are required: --model',
    ('app', '--checkpoint', 'a.pth'): 'mmlocat app: error: --config and --checkpoint go together',
    ('data', 'check', 'x', '--sample', '0'): '--sample must be at least 1, got 0',
    ('data', 'new-config', 'x', '--foo'): 'mmlocat data new-config: error: unrecognized arguments: --foo',
    ('weights', 'convert', 'a', 'b', '--to', 'c'): "invalid choice: 'c'",
    ('weights', 'publish', 'a'): 'the following arguments are required: target',
}
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'matplotlib', 'cv2', 'rich')


def test_a_wrong_command_line_is_refused_before_anything_heavy_is_imported():
    """So it takes no time; that is not measured here, where other processes may have the cores."""
    code = ('import json, sys\nfrom mmlocat.__main__ import main\nfor line in json.loads(sys.argv[1]):\n'
            '    try:\n        main(line)\n    except SystemExit as stop:\n        print(stop.code, file=sys.stderr)\n'
            f'    heavy = set(sys.modules) & set({HEAVY})\n    assert not heavy, (line, heavy)\n')
    said = subprocess.run([sys.executable, '-c', code, json.dumps([['--help'], *map(list, WRONG)])], cwd=ROOT,
                          capture_output=True, text=True, timeout=100)
    assert said.returncode == 0, said.stderr
    assert [line for line in said.stderr.splitlines() if line.isdigit()] == [*'0', *'2' * len(WRONG)]
    for message in WRONG.values():
        assert message in said.stderr


def test_help_fits_a_screen_and_names_every_command(capsys):
    for words in ([], ['--help']):
        with pytest.raises(SystemExit) as stop:
            main(words)
        said = capsys.readouterr().out
        assert stop.value.code == 0 and len(said.splitlines()) <= 24
        assert all(f'\n  {name} ' in said for name in COMMANDS)
    with pytest.raises(SystemExit):
        main(['data', '--help'])
    assert '  new-config  Looks at a folder of your images' in capsys.readouterr().out


def test_every_tool_is_a_command():
    places = [ROOT / place for place, _ in COMMANDS.values()]
    scripts = {script for place in places for script in (place.glob('*.py') if place.is_dir() else [place])}
    assert scripts == {*(ROOT / 'tools').rglob('*.py'), ROOT / 'demo' / 'app.py'}


def test_a_command_is_its_script(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['as it was'])
    monkeypatch.setitem(sys.modules, '__main__', sys.modules['__main__'])
    main(['data', 'example', str(tmp_path / 'new'), '--task', 'cls'])
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == ['disc', 'square']
    # What multiprocessing starts other processes by.
    assert sys.modules['__main__'].__file__ == str(ROOT / 'tools' / 'data' / 'example.py')
    with pytest.raises(SystemExit) as stop:
        main(['data', 'example', str(tmp_path / 'new')])
    assert stop.value.code == 2 and 'mmlocat data example: error: ' in capsys.readouterr().err


@pytest.mark.parametrize(('line', 'offered', 'not_offered'), [
    ('mmlocat t', {'train', 'test'}, {'demo'}),
    ('mmlocat benchmark g', {'gpu-report'}, {'attention'}),
    ('mmlocat train locatvit_upernet_a', {'locatvit_upernet_ade20k'}, {'vit_upernet_ade20k'}),
    ('mmlocat train locatvit_upernet_ade20k --allow', {'--allow-random-backbone'}, {'--amp'}),
    ('mmlocat weights convert a b --to t', {'timm'}, {'hub'}),
])
def test_the_shell_completes(line, offered, not_offered, tmp_path):
    pytest.importorskip('argcomplete')
    answer = tmp_path / 'answer'
    environment = dict(os.environ, _ARGCOMPLETE='1', COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE_IFS='\n',
                       _ARGCOMPLETE_STDOUT_FILENAME=str(answer))
    subprocess.run([sys.executable, '-m', 'mmlocat'], cwd=ROOT, env=environment, check=True, timeout=100)
    found = {word.strip() for word in answer.read_text().splitlines()}
    assert found >= offered and not found & not_offered
