"""Generates a data set of scenes once, in parallel, and compares the files on disk with checksums."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
from PIL import Image

from mmlocat.utils import staged

from .spec import SPLITS, TASKS, ScenesSpec

_CHUNK = 500  # scenes that a process draws at a time


def prepare_scenes(root: Optional[Union[str, Path]], spec: ScenesSpec, progress: bool = True) -> Path:
    """Makes sure that the data set lies at ``root``; generates it if nothing is there.

    Processes that call this at once wait for the first. An interrupted call leaves nothing behind.

    Args:
        root: Its folder; None means ``spec.default_root()``.
        spec: What to generate.
        progress: Whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        ValueError: ``root`` holds another data set or specification, or lies in a file.
        RuntimeError: ``root`` is a folder that holds no data set.
    """
    from filelock import FileLock
    root = Path(root) if root is not None else spec.default_root()
    if not root.exists():  # no lock for a finished data set, which may be on a read-only disk
        if root.parent.is_file():
            raise ValueError(f'{root.parent} is a file; name a folder for {spec.NAME} by MMLOCAT_DATA or data_root')
        root.parent.mkdir(parents=True, exist_ok=True)  # for the lock
        with FileLock(str(root) + '.lock'):
            if not root.exists():
                with staged(root) as scratch:
                    _generate(scratch, spec, progress)
    found = read_manifest(root, spec.NAME)['spec']
    if found != spec.describe():
        raise ValueError(f'{root} holds {spec.NAME} made from {found}, but {spec.describe()} is asked for; '
                         'give another data_root, or delete the folder')
    return root


def read_manifest(root: Path, name: str) -> dict:
    """Reads the specification and the checksums that were written with the data set ``name``.

    Raises:
        RuntimeError: The folder has none, or they are not JSON.
        ValueError: The folder holds another data set.
    """
    try:
        manifest = json.loads((root / 'manifest.json').read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise RuntimeError(f'{root} is not a {name} folder: it has no readable manifest.json ({error}); give '
                           'data_root a name that does not exist yet, and the data will be made there') from error
    found = manifest.get('name', 'DigitScenes')  # which once wrote none
    if found != name:
        raise ValueError(f'{root} holds {found}, not {name}; give another data_root')
    return manifest


def verify_split(root: Path, name: str, task: str, split: str) -> None:
    """Compares the files of one split of the data set ``name`` with the checksum written when they were made.

    Raises:
        RuntimeError: A file is missing, or the files are not those that were made.
    """
    manifest = read_manifest(root, name)
    expected = manifest['sha256'][task][split]
    try:
        found = _checksum(split_files(root, task, split, manifest['spec'][task][SPLITS.index(split)]))
    except FileNotFoundError as error:
        raise RuntimeError(f'{error.filename} is missing; delete {root} and it will be made anew') from error
    if found != expected:
        raise RuntimeError(f'the {task} {split} files in {root} have sha256 {found}, not {expected} as made; '
                           'delete the folder and it will be made anew')


def split_files(root: Path, task: str, split: str, count: int) -> List[Path]:
    """Lists the ``count`` images of a split in order: for classification after their list, else before label maps."""
    names = [f'{i:05d}.png' for i in range(count)]
    if task == 'classification':
        return [root / task / f'{split}.txt'] + [root / task / split / name for name in names]
    return [root / task / kind / split / name for kind in ('images', 'annotations') for name in names]


def _checksum(files: List[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _generate(root: Path, spec: ScenesSpec, progress: bool) -> None:
    from rich.progress import track
    jobs = [(task, split, i) for task in TASKS for split, count in zip(SPLITS, getattr(spec, task))
            for i in range(count)]
    for split in SPLITS:
        for folder in ('classification', 'segmentation/images', 'segmentation/annotations'):
            (root / folder / split).mkdir(parents=True)
    # Forked, like data-loader workers. This is safe even after CUDA has been initialised: they draw with NumPy and
    # Pillow, and never use CUDA or PyTorch. A spawned process would import the caller's main script again.
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None
    draw = partial(_draw, root, spec, spec.load_sources())
    lists: Dict[str, List[str]] = {split: [] for split in SPLITS}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context(method)) as pool:
        drawn = track(pool.map(draw, jobs, chunksize=_CHUNK), f'Drawing {spec.NAME}', len(jobs), disable=not progress)
        for (task, split, i), label in zip(jobs, drawn):
            if task == 'classification':
                lists[split].append(f'{split}/{i:05d}.png {label}\n')
    for split, lines in lists.items():
        (root / 'classification' / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
    sums = {task: {split: _checksum(split_files(root, task, split, count))
                   for split, count in zip(SPLITS, getattr(spec, task))} for task in TASKS}
    manifest = {'name': spec.NAME, 'spec': spec.describe(), 'sha256': sums}
    (root / 'manifest.json').write_text(json.dumps(manifest, indent=2))


def _draw(root: Path, spec: ScenesSpec, sources: Dict[str, Any], job: Tuple[str, str, int]) -> int:
    """Draws one scene, (task, split, number), and returns the class of its first object."""
    task, split, number = job
    # One generator per scene, so that neither the number of workers nor the order can change a pixel.
    rng = np.random.default_rng([spec.seed, TASKS.index(task), SPLITS.index(split), number])
    image, label_map, label = spec.draw(sources[split], task, rng)
    folder = root / task if task == 'classification' else root / task / 'images'
    Image.fromarray(image).save(folder / split / f'{number:05d}.png')
    if task == 'segmentation':
        Image.fromarray(label_map).save(root / task / 'annotations' / split / f'{number:05d}.png')
    return label
