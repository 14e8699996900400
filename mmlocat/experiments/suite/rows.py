"""Reads a suite: a YAML file of rows, each a config with seeds and initial weights.

.. code-block:: yaml

    rows:
      - config: vit-nano_digitscenes.py        # a shipped leaf, or a path
        seeds: [0, 1]
      - config: vit-nano_linear_digitscenes.py
        seeds: [0, 1]
        checkpoint: vit-nano_digitscenes       # another row's result, of the same seed; else a file or an address
        cfg-options: {train_cfg.max_iters: 800}

A config that only tests, such as one of k-NN, tests its row's ``checkpoint``.

Further keys of a row: ``name`` (default: the leaf's), ``title`` (in tables), ``share`` (the part of its config's
iterations that it is trained for), ``processes`` (of its training and test; default: what ``--gpus`` says),
``train-args`` (further arguments of tools/train.py). Beside ``rows`` a suite may hold ``seeds``, of the rows that state
none, ``datasets``, for each of which the rows stand once, with its name in place of ``DATASET``, ``compare``: two rows
(of each data set), of which the report says how the second differs from the first, and ``picture``: which scenes show
these two at the end, 'first' (default) or 'quantiles' of the first one's IoU.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import yaml

from mmlocat.experiments.leaderboard.names import parse
from mmlocat.utils import share_folder, suggestion

PICTURES = ('first', 'quantiles')
_TOP = {'rows', 'seeds', 'datasets', 'compare', 'picture'}
# What each key of a row must hold, as a check and in words.
_KEYS: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    'config': (lambda value: isinstance(value, str), 'the name of a config'),
    # Tests of a row go to a folder whose name ends with _test.
    'name': (lambda value: isinstance(value, str) and value and not Path(value).is_absolute()
             and '..' not in Path(value).parts and not value.endswith('_test'), 'a folder, such as vit/linear'),
    'title': (lambda value: isinstance(value, str), 'a name for tables'),
    'seeds': (lambda value: isinstance(value, list) and value and all(type(seed) is int for seed in value)
              and min(value) >= 0 and len({*value}) == len(value), 'different whole numbers such as [0, 1, 2]'),
    'checkpoint': (lambda value: isinstance(value, str), 'the name of an earlier row, a file or an address'),
    'cfg-options': (lambda value: isinstance(value, dict), 'a mapping of dotted keys to values'),
    'train-args': (lambda value: isinstance(value, list), 'a list of texts'),
    'share': (lambda value: type(value) in (int, float) and 0 < value <= 1, 'a number above 0, at most 1'),
    'processes': (lambda value: type(value) is int and value > 0, 'a positive whole number'),
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
        options: ``--cfg-options`` of training and test, by dotted key.
        train_args: Further arguments of tools/train.py.
        share: The part of its config's iterations that it is trained for; None for all, as the config says.
        processes: Of its training and test, whose total batch they share; None leaves it to the user.
    """

    name: str
    config: Path
    title: str
    seeds: Tuple[int, ...]
    parent: Optional[str] = None
    checkpoint: Optional[str] = None
    options: Dict[str, Any] = field(default_factory=dict)
    train_args: Tuple[str, ...] = ()
    share: Optional[float] = None
    processes: Optional[int] = None

    @property
    def head(self) -> str:
        """One of the leaderboard's ``HEADS``, '' for a classifier."""
        return parse(self.config.name).head


@dataclass(frozen=True)
class Suite:
    """What a suite's file holds, checked.

    Args:
        name: The file's name without its suffix.
        rows: In the file's order; a row comes after the one it starts from.
        compare: Names of the two rows that the report compares, or nothing; of several data sets, two for each.
        picture: One of ``PICTURES``: which scenes show what these predict.
    """

    name: str
    rows: Tuple[SuiteRow, ...] = ()
    compare: Tuple[str, ...] = ()
    picture: str = 'first'

    @property
    def pairs(self) -> List[Tuple[str, str]]:
        """The names of ``compare``, two by two."""
        return list(zip(self.compare[::2], self.compare[1::2]))

    def row(self, name: str) -> SuiteRow:
        """Returns the row of a name, which must be there."""
        return next(row for row in self.rows if row.name == name)

    def with_options(self, options: Dict[str, Any], heads: bool) -> Suite:
        """Returns the suite with further ``--cfg-options`` for its segmentation heads, or for its classifiers."""
        return replace(self, rows=tuple(
            replace(row, options={**row.options, **options}) if bool(row.head) == heads else row for row in self.rows))

    def select(self, patterns: List[str]) -> Suite:
        """Returns the rows whose names fit any pattern, with those they start from.

        Raises:
            ValueError: A pattern fits no row.
        """
        chosen, names = set(), [row.name for row in self.rows]
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise ValueError(f'--rows {pattern} fits no row; the suite has {", ".join(names)}')
            chosen.update(fnmatch.filter(names, pattern))
        for row in reversed(self.rows):
            if row.name in chosen and row.parent:
                chosen.add(row.parent)
        compare = tuple(name for pair in self.pairs if set(pair) <= chosen for name in pair)
        return replace(self, rows=tuple(row for row in self.rows if row.name in chosen), compare=compare)


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
    if not isinstance(entries, list) or not entries or not set(content) <= _TOP:
        raise ValueError(f'{file} must hold rows: a list of rows that each name a config; beside it, it may hold '
                         'seeds, datasets, compare and picture alone')
    rows: Dict[str, SuiteRow] = {}
    for number, entry in _for_each_dataset(file, entries, content.get('datasets')):
        label = entry.get('name', entry.get('config')) if isinstance(entry, dict) else None
        where = f'{file}, row {number}' + (f' ({label})' if label else '')
        if not label or 'config' not in entry:
            raise ValueError(f'{where}: a row is a mapping with the key config, got {entry!r}')
        row = _row(where, {'seeds': list(seeds) if seeds else content.get('seeds', [0]), **entry}, rows)
        rows[row.name] = row
    compare, picture = content.get('compare', []), content.get('picture', 'first')
    names = compare if isinstance(compare, list) and all(isinstance(name, str) for name in compare) else [None]
    names = list(dict.fromkeys(_named(name, data) for data in content.get('datasets') or [''] for name in names))
    if compare and (len(compare) != 2 or len(names) % 2 or not set(names) <= set(rows)):
        raise ValueError(f'{file}, compare: expected the names of two rows, got {compare!r}')
    if picture not in PICTURES:
        raise ValueError(f'{file}, picture: expected one of {", ".join(PICTURES)}, got {picture!r}')
    return Suite(file.stem, tuple(rows.values()), tuple(names) if compare else (), picture)


def _for_each_dataset(file: Path, entries: List[Any], datasets: Any) -> List[Tuple[int, Any]]:
    """Returns the rows with their numbers in the file: once, or for each data set, whose name takes its place."""
    numbered = list(enumerate(entries, 1))
    if datasets is None:
        return numbered
    if not isinstance(datasets, list) or not datasets or not all(isinstance(name, str) for name in datasets):
        raise ValueError(f'{file}, datasets: expected names as they end those of configs, such as [digitscenes], got '
                         f'{datasets!r}')

    return [(number, {key: _named(value, name) for key, value in entry.items()} if isinstance(entry, dict) else entry)
            for name in datasets for number, entry in numbered]


def _named(value: Any, dataset: str) -> Any:
    return value.replace('DATASET', dataset) if isinstance(value, str) else value


def _row(where: str, entry: Dict[str, Any], earlier: Dict[str, SuiteRow]) -> SuiteRow:
    """Reads a row as it stands in the file; ``where`` begins the messages of its errors."""
    for key, value in entry.items():
        if key not in _KEYS:
            raise ValueError(f'{where}, {key}: unknown key'
                             + (suggestion(str(key), _KEYS) or f'; known are {", ".join(_KEYS)}'))
        if not _KEYS[key][0](value):
            raise ValueError(f'{where}, {key}: expected {_KEYS[key][1]}, got {value!r}')
    for key, value in entry.get('cfg-options', {}).items():
        if isinstance(value, dict):
            raise ValueError(f'{where}, cfg-options: {key} holds a mapping; write its keys with dots, {key}.KEY: VALUE')
        if key in ('randomness.seed', 'checkpoint'):
            raise ValueError(f'{where}, cfg-options: {key} has a key of its own, '
                             f'{key.split(".")[-1].replace("seed", "seeds")}')
    given, folder = Path(entry['config']), share_folder() / 'configs'
    config = next(filter(Path.is_file, (folder / given, given, folder / f'{given}.py')), given)
    name, seeds, checkpoint = entry.get('name', config.stem), tuple(entry['seeds']), entry.get('checkpoint')
    if any(f'{name}/'.startswith(f'{other}/') or other.startswith(f'{name}/') for other in earlier):
        raise ValueError(f'{where}, name: {name} is taken by an earlier row; give this one another name')
    parent = earlier.get(checkpoint)
    if parent:
        checkpoint = None
        missing = [seed for seed in seeds if seed not in parent.seeds]
        if missing and len(parent.seeds) > 1:
            raise ValueError(f'{where}, seeds: {parent.name}, which checkpoint names, has the seeds '
                             f'{list(parent.seeds)} and not {missing}; it needs the same seeds, or one for all')
    elif checkpoint and '://' not in checkpoint:
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(f'{where}, checkpoint: {checkpoint} is neither an earlier row nor a file'
                                    f'{suggestion(checkpoint, earlier)}')
        checkpoint = str(Path(checkpoint).resolve())
    share = entry.get('share')
    title = parse(config.name).model
    more = share or (parent and parent.share)  # a head has that of the training which it starts from
    if more:
        title += f', {100 * more:g} %'
    return SuiteRow(name, config, entry.get('title', title), seeds, parent and parent.name, checkpoint,
                    entry.get('cfg-options', {}), tuple(map(str, entry.get('train-args', ()))), share,
                    entry.get('processes'))
