"""Finds or fetches a checkpoint: a file, a folder, the Hugging Face hub, or a web address."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Optional
from urllib.parse import urlparse

from .errors import CheckpointError

# Names of weight files in a folder of the hub, preferred first.
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
_HUB = re.compile(r'^hf://([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+))?$')


def locate(source: str) -> Path:
    """Finds a checkpoint on this machine, or downloads it.

    Args:
        source: As ``read_checkpoint`` takes it. 'timm://NAME' is timm's own repository of this name on the hub; what a
            web address gives is kept in PyTorch's hub folder. A hub snapshot's config.json lies beside the file.

    Raises:
        FileNotFoundError: There is no such file, or the hub does not give it.
        CheckpointError: The download fails.
        ValueError: The address is malformed or of an unknown kind.
    """
    if source.startswith('timm://'):
        source = 'hf://timm/' + source[len('timm://'):]
    if source.startswith('hf://'):
        return _from_hub(source)
    if source.startswith(('http://', 'https://')):
        return _download(source)
    if '://' in source:
        raise ValueError(f'{source}: {source.split("://")[0]}:// is not read here; give a file, a folder, hf://, '
                         'timm://, http:// or https://')
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        found = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
        if found is None:
            raise FileNotFoundError(f'the folder {path} has neither {" nor ".join(WEIGHT_FILES)}; give the file itself')
        return found
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {source} does not exist; check the path, it is relative to {Path.cwd()}')
    return path


def _from_hub(source: str) -> Path:
    """Fetches a file, or a repository's weights and config.json, which tells the grid of pretraining."""
    match = _HUB.match(source)
    if match is None:
        raise ValueError(f'{source!r} is no hub address; expected hf://OWNER/REPO, hf://OWNER/REPO@REVISION or '
                         'hf://OWNER/REPO/FILE')
    repo, revision, file = match.groups()
    for name in (file, ) if file else WEIGHT_FILES:
        path = _fetch(source, repo, revision, name)
        if path is not None:
            if file is None:
                with suppress(FileNotFoundError):
                    _fetch(source, repo, revision, 'config.json')
            return path
    raise FileNotFoundError(f'{source}: the repository has no {file or " or ".join(WEIGHT_FILES)}; look at its list of '
                            f'files, and name one: hf://{repo}/FILE')


def _fetch(source: str, repo: str, revision: Optional[str], file: str) -> Optional[Path]:
    """Fetches one file by huggingface_hub, with its cache; None if the repository is known to lack it."""
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache
    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except (errors.EntryNotFoundError, errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        # HF_HUB_OFFLINE, or no network; and not in the cache, which may know that the repository lacks the file.
        unreachable = isinstance(error, (errors.LocalEntryNotFoundError, ConnectionError))
        if unreachable and try_to_load_from_cache(repo, file, revision=revision) is _CACHED_NO_EXIST:
            return None
        if isinstance(error, errors.EntryNotFoundError) and not unreachable:
            return None
        said = ' '.join(str(error).split())
        if unreachable:
            raise FileNotFoundError(
                f'{source}: the hub cannot be reached, and its cache has no {file}; put {file} and config.json of '
                f'https://huggingface.co/{repo} into one folder (hf download {repo} --local-dir FOLDER, on a machine '
                'with a network), and give FOLDER in place of the address') from error
        raise FileNotFoundError(f'{source}: the hub does not give {file} ({type(error).__name__}: {said}); check the '
                                'address, log in with: hf auth login (a gated repository wants its conditions accepted)'
                                f', or fetch it elsewhere (hf download {repo} {file}) and give its path') from error


def _download(address: str) -> Path:
    """Downloads a file to PyTorch's hub folder, unless it is there."""
    from torch.hub import download_url_to_file, get_dir
    name = os.path.basename(urlparse(address).path)
    if not name:
        raise ValueError(f'{address} names no file; give the address of the checkpoint itself')
    path = Path(get_dir()) / 'checkpoints' / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # File names of OpenMMLab and PyTorch end in the first digits of the hash, which is then checked.
        known = re.search(r'-([a-f0-9]{8,})\.', name)
        try:
            # Written to a temporary file first, so two processes that download at once both get the whole file.
            download_url_to_file(address, str(path), known.group(1) if known else None, progress=os.isatty(2))
        except Exception as error:  # URLError, HTTPError, RuntimeError for a wrong hash, a closed connection
            raise CheckpointError(f'{address} cannot be downloaded ({type(error).__name__}: {error}); check the '
                                  'address and the network, or fetch it by hand and give the file') from error
    return path
