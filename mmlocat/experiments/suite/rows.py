"""Reads a suite: a YAML file of rows, each a config with seeds and initial weights.

.. code-block:: yaml

    rows:
      - config: vit-nano_digitscenes.py        # a shipped leaf, a path, or a pattern of shipped leaves
        seeds: [0, 1]
      - config: vit-nano_linear_digitscenes.py
        seeds: [0, 1]
        checkpoint: vit-nano_digitscenes       # another row's result, of the same seed; else a file or an address
        cfg-options: {train_cfg.max_iters: 800}

Further keys of a row: ``name`` (default: the leaf's), ``title`` (in tables), ``processes`` (of its training and test;
default: what ``--gpus`` says), ``only: paper`` (of a pattern's leaves, those that stand in the paper's table),
``exclude`` (patterns), ``default-checkpoint`` (as ``checkpoint``, for leaves that name no weights themselves),
``train-args`` (further arguments of tools/train.py). ``{arch}`` in a checkpoint stands for the first part of the leaf's
name. Beside ``rows`` a suite may hold ``seeds``, of the rows that state none, and ``compare``: two rows, of which the
report says how the second differs from the first.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import yaml

from mmlocat.config import near_matches
from mmlocat.experiments.leaderboard.deviations import recipe_checkpoint
from mmlocat.experiments.leaderboard.names import parse, published_for
from mmlocat.utils import share_folder, suggestion

_SUITE_KEYS = ('rows', 'seeds', 'compare')


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_folder(value: Any) -> bool:
    return (_is_text(value) and not Path(value).is_absolute() and '..' not in Path(value).parts
            and not value.endswith('_test'))


def _are_seeds(value: Any) -> bool:
    return (isinstance(value, list) and bool(value) and all(type(seed) is int and seed >= 0 for seed in value)
            and len(set(value)) == len(value))


_WEIGHTS = (_is_text, 'the name of an earlier row, a file or an address')
# What each key of a row must hold, as a check and in words.
_KEYS: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    'config': (_is_text, 'the name of a config'),
    'name': (_is_folder, 'the name of a folder, such as vit/linear'),
    'title': (_is_text, 'a name for tables'),
    'seeds': (_are_seeds, 'a list of different whole numbers such as [0, 1, 2]'),
    'checkpoint': _WEIGHTS,
    'default-checkpoint': _WEIGHTS,
    'cfg-options': (lambda value: isinstance(value, dict), 'a mapping of dotted keys to values'),
    'train-args': (_is_texts, 'a list of texts'),
    'processes': (lambda value: type(value) is int and value > 0, 'a positive whole number'),
    'only': (lambda value: value == 'paper', "'paper'"),
    'exclude': (_is_texts, 'a list of texts'),
}


@dataclass(frozen=True)
class SuiteRow:
    """One config of a suite.

    Args:
        name: Its folder, and what other rows call it.
        config: The file.
        title: Its model, in tables.
        seeds: One training each.
        parent: The row whose result it starts from, or None.
        checkpoint: A file or address it starts from, or None for what the config says.
        options: ``--cfg-options`` of training and test.
        train_args: Further arguments of tools/train.py.
        processes: Of its training and test, whose total batch they share; None leaves it to the user.
    """

    name: str
    config: Path
    title: str
    seeds: Tuple[int, ...]
    parent: Optional[str] = None
    checkpoint: Optional[str] = None
    options: Tuple[str, ...] = ()
    train_args: Tuple[str, ...] = ()
    processes: Optional[int] = None

    @property
    def head(self) -> str:
        """'linear', 'upernet', or '' for a classifier."""
        return parse(self.config.name).head


@dataclass(frozen=True)
class Suite:
    """What a suite's file holds, checked.

    Args:
        name: The file's name without its suffix.
        rows: In the file's order; a row comes after the one it starts from.
        compare: Names of the two rows that the report compares, or nothing.
    """

    name: str
    rows: Tuple[SuiteRow, ...] = ()
    compare: Tuple[str, ...] = ()

    def row(self, name: str) -> SuiteRow:
        """Returns the row of a name, which must be there."""
        return next(row for row in self.rows if row.name == name)

    def with_options(self, options: Sequence[str], heads: bool) -> Suite:
        """Returns the suite with further ``--cfg-options`` for its segmentation heads, or for its classifiers."""
        return replace(self, rows=tuple(
            replace(row, options=(*row.options, *options)) if bool(row.head) == heads else row for row in self.rows))

    def select(self, patterns: List[str]) -> Suite:
        """Returns the rows whose names fit any pattern, with those they start from.

        Raises:
            ValueError: A pattern fits none.
        """
        chosen = set()
        for pattern in patterns:
            names = fnmatch.filter([row.name for row in self.rows], pattern)
            if not names:
                raise ValueError(f'--rows {pattern} fits no row; the suite has '
                                 f'{", ".join(row.name for row in self.rows)}')
            chosen.update(names)
        for row in reversed(self.rows):
            if row.name in chosen and row.parent:
                chosen.add(row.parent)
        return replace(self, rows=tuple(row for row in self.rows if row.name in chosen))


def load_suite(path: Union[str, Path], seeds: Optional[Sequence[int]] = None) -> Suite:
    """Reads and checks a suite.

    Args:
        path: A YAML file, or the name of one that mmlocat ships in configs/suites/.
        seeds: Of the rows that state none, instead of the file's.

    Raises:
        FileNotFoundError: There is no such file, or a row names a file that does not exist.
        ValueError: The file is not YAML, or a row is wrong; the message names the row and the key.
    """
    file = Path(path)
    shipped = share_folder() / 'configs' / 'suites'
    if not file.is_file():
        file = shipped / (file.name if file.suffix else f'{file.name}.yml')
    if not file.is_file():
        names = ', '.join(sorted(entry.stem for entry in shipped.glob('*.yml')))
        raise FileNotFoundError(f'suite {path} does not exist; mmlocat ships {names}')
    try:
        content = yaml.safe_load(file.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{file} is not YAML: {error}') from error
    entries = content.get('rows') if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not set(content) <= set(_SUITE_KEYS):
        raise ValueError(f'{file} must hold rows: a list of rows that each name a config; beside it, it may hold '
                         f'{" and ".join(_SUITE_KEYS[1:])} alone')
    rows: List[SuiteRow] = []
    for number, entry in enumerate(entries, 1):
        given = {'seeds': list(seeds) if seeds else content.get('seeds', [0])}
        rows += _Entry(file, number, {**given, **entry} if isinstance(entry, dict) else entry).rows(rows)
    compare = content.get('compare', [])
    if not isinstance(compare, list) or len(compare) not in (0, 2) or not set(compare) <= {row.name for row in rows}:
        raise ValueError(f'{file}, compare: expected the names of two rows, got {compare!r}')
    return Suite(file.stem, tuple(rows), tuple(compare))


class _Entry:
    """A row as it stands in the file."""

    def __init__(self, file: Path, number: int, entry: Any) -> None:
        self.file = file
        self.entry: Dict[str, Any] = entry if isinstance(entry, dict) else {}
        label = self.entry.get('name', self.entry.get('config'))
        self.where = f'{file}, row {number}' + (f' ({label})' if label else '')
        if not isinstance(entry, dict) or 'config' not in entry:
            raise ValueError(f'{self.where}: a row is a mapping with the key config, got {entry!r}')
        for key, value in entry.items():
            if key not in _KEYS:
                raise ValueError(f'{self.where}, {key}: unknown key'
                                 + (suggestion(str(key), _KEYS) or f'; known are {", ".join(_KEYS)}'))
            if not _KEYS[key][0](value):
                raise self._fail(key, _KEYS[key][1])

    def _fail(self, key: str, expected: str) -> ValueError:
        return ValueError(f'{self.where}, {key}: expected {expected}, got {self.entry.get(key)!r}')

    def rows(self, earlier: List[SuiteRow]) -> Iterator[SuiteRow]:
        """Yields a row for each leaf that the entry names."""
        configs, name, seeds = self._configs(), self.entry.get('name'), tuple(self.entry['seeds'])
        if name and len(configs) > 1:
            raise self._fail('name', f'one config for it, not {len(configs)}')
        taken = {row.name: row for row in earlier}
        for config in configs:
            own = name or config.stem
            if any(f'{own}/'.startswith(f'{other}/') or other.startswith(f'{own}/') for other in taken):
                raise ValueError(f'{self.where}, name: {own} is taken by an earlier row; give this one another name')
            parent, checkpoint = self._checkpoint(config, taken)
            if parent:
                self._check_parent_seeds(taken[parent], seeds)
            yield SuiteRow(own, config, self.entry.get('title', parse(config.name).model), seeds, parent, checkpoint,
                           self._options(), tuple(self.entry.get('train-args', ())), self.entry.get('processes'))

    def _configs(self) -> List[Path]:
        config = self.entry['config']
        folder = share_folder() / 'configs'
        if not any(sign in config for sign in '*?['):
            for file in (folder / config, Path(config), folder / f'{config}.py'):
                if file.is_file():
                    return [file]
            near = near_matches(config)
            raise FileNotFoundError(f'{self.where}, config: {config} does not exist'
                                    + (f'; did you mean {", ".join(near)}?' if near else ''))
        excluded = self.entry.get('exclude', [])
        found = [file for file in sorted(folder.glob('*.py')) if fnmatch.fnmatch(file.name, config)
                 and not any(fnmatch.fnmatch(file.name, pattern) for pattern in excluded)
                 and ('only' not in self.entry or published_for(parse(file.name)))]
        if not found:
            raise self._fail('config', f'a pattern that fits a config in {folder}')
        return found

    def _checkpoint(self, config: Path, taken: Dict[str, SuiteRow]) -> Tuple[Optional[str], Optional[str]]:
        """Returns the row to start from and the file or address, of which one is None."""
        key = 'checkpoint' if 'checkpoint' in self.entry else 'default-checkpoint'
        given = self.entry.get(key)
        if given is None or key == 'default-checkpoint' and recipe_checkpoint(config.stem):
            return None, None
        given = given.replace('{arch}', parse(config.name).arch)
        if given in taken:
            return given, None
        if '://' in given:
            return None, given
        if Path(given).is_file():
            return None, str(Path(given).resolve())
        raise FileNotFoundError(f'{self.where}, {key}: {given} is neither an earlier row nor a file'
                                f'{suggestion(given, taken)}')

    def _check_parent_seeds(self, parent: SuiteRow, seeds: Tuple[int, ...]) -> None:
        missing = [seed for seed in seeds if seed not in parent.seeds]
        if missing and len(parent.seeds) > 1:
            raise ValueError(f'{self.where}, seeds: {parent.name}, which checkpoint names, has the seeds '
                             f'{list(parent.seeds)} and not {missing}; it needs the same seeds, or one for all')

    def _options(self) -> Tuple[str, ...]:
        options = self.entry.get('cfg-options', {})
        for key, value in options.items():
            if isinstance(value, dict):
                raise ValueError(f'{self.where}, cfg-options: {key} holds a mapping; write its keys with dots, '
                                 f'{key}.KEY: VALUE')
        for key in ('randomness.seed', 'checkpoint'):
            if key in options:
                raise ValueError(f'{self.where}, cfg-options: {key} has a key of its own, '
                                 f'{key.split(".")[-1].replace("seed", "seeds")}')
        return tuple(f'{key}={_text(value)}' for key, value in options.items())


def _text(value: Any) -> str:
    """Writes a value as ``--cfg-options`` reads it."""
    if isinstance(value, list):
        return f'[{",".join(map(_text, value))}]'
    return str(value)
