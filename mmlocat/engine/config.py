"""Reading a config, with help for a name that does not exist."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import List, Optional

from mmengine.config import Config

from mmlocat.utils import share_folder


def near_matches(path: str, most: int = 5) -> List[str]:
    """Lists configs whose names resemble the one asked for.

    Looks beside ``path`` and in the configs that mmlocat ships.

    Args:
        path: A config file that does not exist.
        most: How many to return at most.

    Returns:
        Paths as a user would type them, best first.
    """
    wanted = Path(path)
    folders = [wanted.parent, share_folder() / 'configs']
    found = {}
    for folder in folders:
        for file in sorted(folder.glob('*.py')) if folder.is_dir() else []:
            if file.name != 'setup.py':
                found.setdefault(file.stem, str(file))
    names = difflib.get_close_matches(wanted.stem, found, n=most, cutoff=0.5)
    names += [name for name in found if wanted.stem in name and name not in names]
    return [found[name] for name in names[:most]]


def load_config(path: str, options: Optional[dict] = None) -> Config:
    """Reads a config and merges ``--cfg-options`` into it.

    Args:
        path: The config file.
        options: Dotted keys and values.

    Returns:
        The merged config.

    Raises:
        FileNotFoundError: There is no such file; the message lists near matches.
        ValueError: The file is not a valid config; the message says what Python or mmengine found.
    """
    if not Path(path).is_file():
        matches = near_matches(path)
        hint = f'did you mean {", ".join(matches)}?' if matches else f'configs lie in {share_folder() / "configs"}'
        raise FileNotFoundError(f'config {path} does not exist; {hint}')
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is Python: anything can go wrong in it
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {error}') from error
    if options:
        config.merge_from_dict(options)
    return config
