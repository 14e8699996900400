"""The command ``mmlocat``: runs the scripts that the package ships, in a checkout and from a wheel.

It imports nothing heavy: ``--help``, an unknown word and the shell's completion take no time.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Optional

from mmlocat import __version__
from mmlocat.utils import share_folder, suggestion

# Each command with its script, or a folder of scripts whose names are commands again, and a line of help.
COMMANDS = {
    'train': ('tools/train.py', 'train a config: mmlocat train locatvit_upernet_ade20k'),
    'test': ('tools/test.py', 'test a checkpoint: mmlocat test CONFIG CHECKPOINT'),
    'predict': ('tools/predict.py', 'name what is in pictures of yours, and draw it'),
    'demo': ('tools/demo.py', 'ViT against LocAtViT, trained on a laptop in ten minutes'),
    'app': ('demo/app.py', 'a web page: drop a picture, click a patch'),
    'weights': ('tools/weights', 'convert weights, or make a checkpoint fit to publish'),
    'data': ('tools/data', 'a config for data of your own; checks of data sets'),
    'benchmark': ('tools/benchmark', 'measure time and memory, run suites, gather results'),
    'analysis': ('tools/analysis', 'what a config amounts to, what a model attends to'),
    'deploy': ('tools/deploy', 'export to ONNX'),
}


def main(argv: Optional[List[str]] = None) -> None:
    """Runs a command; its script ends the process with the exit code.

    Args:
        argv: The words after ``mmlocat``; by default those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if '_ARGCOMPLETE' in os.environ:  # the shell asks what could come next
        words = _answer_the_shell()
    name = _choose('mmlocat', 'LocAtViT for MMPretrain and MMSegmentation.',
                   {command: text for command, (_, text) in COMMANDS.items()}, words)
    script, chosen = share_folder() / COMMANDS[name][0], ['mmlocat', name]
    if script.is_dir():
        scripts = {path.stem.replace('_', '-'): path for path in sorted(script.glob('*.py'))}
        texts = {command: _first_line(path) for command, path in scripts.items()}
        chosen.append(_choose(f'mmlocat {name}', f'{COMMANDS[name][1].capitalize()}.', texts, words[1:]))
        script = scripts[chosen[-1]]
    _run(script, ' '.join(chosen), words[len(chosen) - 1:])


def _choose(program: str, about: str, known: Dict[str, str], words: List[str]) -> str:
    """Returns the first of the words, a known command; prints help or an error and ends the process otherwise.

    Args:
        program: What was typed so far.
        about: A sentence on it.
        known: A line of help for each command.
        words: What was typed after it.
    """
    width = max(map(len, known))
    listed = '\n'.join(f'  {name:{width}}  {text}' for name, text in known.items())
    parser = argparse.ArgumentParser(
        prog=program, usage=f'{program} COMMAND ...', formatter_class=argparse.RawDescriptionHelpFormatter,
        description=about, epilog=f'commands:\n{listed}\n\n{program} COMMAND --help tells more.')
    parser.add_argument('--version', action='version', version=f'mmlocat {__version__}')
    parser.add_argument('command', help=argparse.SUPPRESS).completer = lambda **_: known
    if words and words[0] in known:
        return words[0]
    if words and words[0].startswith('-') and words[0] not in ('-h', '--help', '--version'):
        parser.error(f'{words[0]} is no option; {program} --help lists commands')
    word = parser.parse_args(words[:1] or ['--help']).command
    parser.error(f'no command is named {word!r}{suggestion(word, known) or f"; {program} --help lists them"}')


def _first_line(script: Path) -> str:
    """Returns the first line of a script's docstring, without importing it."""
    return (ast.get_docstring(ast.parse(script.read_text(encoding='utf-8'))) or '').split('\n')[0]


def _run(script: Path, program: str, arguments: List[str]) -> None:
    """Runs a script in this process as Python runs its main one; ``runpy`` would put its path in place of the name.

    Args:
        script: The script.
        program: What its help and errors call it.
        arguments: Its arguments.
    """
    module = ModuleType('__main__')
    module.__file__ = str(script)
    sys.argv, sys.modules['__main__'] = [program, *arguments], module
    exec(compile(script.read_text(encoding='utf-8'), str(script), 'exec', dont_inherit=True), module.__dict__)


def _answer_the_shell() -> List[str]:
    """Makes the first parser that would read a command line answer the shell's question instead, by argcomplete.

    So it works for every script, and none goes on to run.

    Returns:
        The words after ``mmlocat`` and before the one to complete.
    """
    import argcomplete

    def answer(parser: argparse.ArgumentParser, *_: Any) -> None:
        os.environ['_ARGCOMPLETE'] = str(len(parser.prog.split()))  # how many words name the program
        argcomplete.autocomplete(parser)  # ends the process

    argparse.ArgumentParser.parse_args = answer
    return argcomplete.split_line(os.environ['COMP_LINE'], int(os.environ['COMP_POINT']))[3][1:]


if __name__ == '__main__':
    main()
