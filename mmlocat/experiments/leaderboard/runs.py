"""Reads records from work dirs, and joins every test with its training and its initial weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Union

from mmlocat.training.provenance import FILE, read_record

from .deviations import recipe_checkpoint, test_deviations, training_deviations
from .names import Leaf, metric, parse


@dataclass
class Training:
    """A training that was recorded.

    Args:
        leaf: Its config.
        folder: Its work dir.
        launches: In order.
        configs: By hash.
        deviations: From its own recipe, initial weights not traced.
    """

    leaf: Leaf
    folder: Path
    launches: List[dict]
    configs: Dict[str, dict]
    deviations: List[str]

    @property
    def result(self) -> Optional[str]:
        """SHA-256 of the last checkpoint; None before the end."""
        finished = self.launches[-1]['finished']
        return finished['checkpoint']['sha256'] if finished and finished['checkpoint'] else None

    @property
    def initial(self) -> Optional[dict]:
        """Source and SHA-256 of the weights that the backbone started from."""
        return self.launches[0]['initial_checkpoint']


@dataclass
class Run:
    """One measured number: a test, with the training behind it.

    Args:
        leaf: The config tested.
        folder: The work dir of the test.
        test: Its record.
        config: The canonical config of the training, or of the test where no training is known.
        training: None where none of the work dirs holds it.
        pretraining: The training whose result the backbone started from; None where none was or is known.
        deviations: Why the number is not the recipe's; empty for one that is.
    """

    leaf: Leaf
    folder: Path
    test: dict
    config: dict
    training: Optional[Training] = None
    pretraining: Optional[Training] = None
    deviations: List[str] = field(default_factory=list)

    @property
    def value(self) -> Optional[float]:
        """The leaf's metric, in percent; None if the test did not measure it."""
        value = self.test['metrics'].get(metric(self.leaf.head)[0])
        return None if value is None else float(value)

    @property
    def seed(self) -> Optional[int]:
        """Of the training."""
        return self.training.launches[0]['seed'] if self.training else None


def gather(work_dirs: Iterable[Union[str, Path]]) -> List[Run]:
    """Gathers every tested checkpoint below some folders.

    A checkpoint that was tested several times in the same way counts once, by its last test.

    Args:
        work_dirs: Folders; records are looked for at any depth.

    Returns:
        One run for each leaf, checkpoint and way of testing.

    Raises:
        FileNotFoundError: A folder does not exist, or there is no record in any.
        ValueError: A record cannot be read.
    """
    work_dirs = [Path(folder) for folder in work_dirs]
    for folder in work_dirs:
        if not folder.is_dir():
            raise FileNotFoundError(f'work dir {folder} does not exist; give the folders that tools/train.py and '
                                    'tools/test.py wrote to, or one above them')
    files = sorted({path.resolve() for folder in work_dirs for path in folder.rglob(FILE)})
    if not files:
        raise FileNotFoundError(f'no {FILE} below {", ".join(map(str, work_dirs))}: test a checkpoint with '
                                'tools/test.py, which writes it')
    records = {path.parent: read_record(path.parent) for path in files}
    trainings = [_training(folder, record) for folder, record in records.items() if record['launches']]
    by_result = {training.result: training for training in trainings if training.result}
    runs: Dict[tuple, Run] = {}
    for folder, record in records.items():
        for test in record['tests']:
            run = _run(folder, test, record['configs'], by_result)
            key = (run.leaf.name, test['checkpoint']['sha256'] or test['checkpoint']['source'], test['tta'],
                   tuple(run.deviations))
            if key not in runs or runs[key].test['date'] <= test['date']:
                runs[key] = run
    return list(runs.values())


def recorded_run(test_folder: Path, training_folder: Path) -> Run:
    """Returns what the last test in a folder measured of the training in another, not compared with any recipe.

    Args:
        test_folder: Work dir of the test.
        training_folder: Work dir of the training whose result it tested.

    Raises:
        ValueError: A record cannot be read.
    """
    tested, trained = read_record(test_folder), read_record(training_folder)
    test = tested['tests'][-1]
    leaf = parse(test['leaf'])
    training = Training(leaf, training_folder, trained['launches'], trained['configs'], [])
    return Run(leaf, test_folder, test, tested['configs'][test['config']], training)


def _training(folder: Path, record: dict) -> Training:
    leaf = parse(record['launches'][0]['leaf'])
    found = training_deviations(leaf.name, record['launches'], record['configs'])
    names = list(dict.fromkeys(launch['leaf'] for launch in record['launches']))
    if len(names) > 1:
        found.append(f'resumed with another config: {", then ".join(names)}')
    return Training(leaf, folder, record['launches'], record['configs'], found)


def _run(folder: Path, test: dict, configs: Dict[str, dict], by_result: Dict[str, Training]) -> Run:
    leaf = parse(test['leaf'])
    run = Run(leaf, folder, test, configs[test['config']])
    run.training = by_result.get(test['checkpoint']['sha256'])
    found = test_deviations(leaf.name, test, configs)
    if run.training is None:
        found.append('no finished training in these work dirs ends with this checkpoint')
    else:
        run.config = run.training.configs[run.training.launches[0]['config']]
        found += run.training.deviations
        if run.training.leaf.name != leaf.name:
            found.append(f'trained with {run.training.leaf.name}.py')
        found += _trace(run, by_result)
    run.deviations = list(dict.fromkeys(found))
    return run


def _trace(run: Run, by_result: Dict[str, Training]) -> List[str]:
    """Finds the training behind the initial weights; says what is wrong with them."""
    initial, leaf = run.training.initial, run.leaf
    if initial is None or initial['source'] == recipe_checkpoint(leaf.name):
        return []
    run.pretraining = by_result.get(initial['sha256'])
    if run.pretraining is None:
        return [f'starts from {initial["source"]}, which no training in these work dirs ends with']
    found = [f'pretraining: {text}' for text in run.pretraining.deviations]
    if run.pretraining.leaf.name != leaf.pretraining:
        expected = f'{leaf.pretraining}.py' if leaf.pretraining else 'from scratch'
        found.insert(0, f'starts from the result of {run.pretraining.leaf.name}.py instead of {expected}')
    return found
