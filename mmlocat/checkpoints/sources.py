"""Finds or fetches a checkpoint from a file, a folder, the Hugging Face hub, timm, or a web address."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple
from urllib.parse import urlparse

from mmlocat.utils import first_line, require_modules

from .errors import CheckpointError

# Names of weight files in a folder of the hub, preferred first.
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
_HUB = re.compile(r'^hf://(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?$')


class Located(NamedTuple):
    """A checkpoint on this machine."""

    path: Path
    config: Dict[str, Any]  # content of the config.json beside it; empty if there is none


def locate(source: str) -> Located:
    """Finds a checkpoint on this machine, or downloads it.

    Args:
        source: A file; a folder with model.safetensors (a hub snapshot); 'hf://OWNER/REPO', also with '@REVISION' and
            '/FILE'; or a web address, which is kept in PyTorch's hub folder.

    Returns:
        The file, and the config beside it.

    Raises:
        FileNotFoundError: There is no such file, repository, revision or file in it.
        CheckpointError: The download fails, or its content is invalid.
        ValueError: The address is malformed or of an unknown kind.
    """
    if source.startswith('hf://'):
        return _from_hub(source)
    if source.startswith(('http://', 'https://')):
        return Located(_download(source), {})
    if '://' in source:
        raise ValueError(f'{source}: {source.split("://")[0]}:// is not read here; give a file, a folder, hf://, '
                         'timm://, http:// or https://')
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {source} does not exist; check the path, it is relative to {Path.cwd()}')
    return Located(path, {})


def _in_folder(folder: Path) -> Located:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return Located(folder / name, _config(folder / 'config.json'))
    raise FileNotFoundError(f'the folder {folder} has neither {" nor ".join(_WEIGHTS)}; give the file with the weights')


def _config(path: Path) -> Dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f'{path} is no valid JSON ({error}); fetch it again') from error
    return config if isinstance(config, dict) else {}


def parse_hub_address(source: str) -> Tuple[str, Optional[str], Optional[str]]:
    """Splits 'hf://OWNER/REPO@REVISION/FILE' into repository, revision and file; the last two may be None.

    Raises:
        ValueError: It has another form.
    """
    match = _HUB.match(source)
    if match is None:
        raise ValueError(f'{source!r} is no hub address; expected hf://OWNER/REPO, hf://OWNER/REPO@REVISION or '
                         'hf://OWNER/REPO/FILE')
    return match['repo'], match['revision'], match['file']


def _from_hub(source: str) -> Located:
    repo, revision, file = parse_hub_address(source)
    from huggingface_hub.errors import EntryNotFoundError
    if file is not None:
        return Located(_fetch(source, repo, revision, file), {})
    path = None
    for name in _WEIGHTS:
        try:
            path = _fetch(source, repo, revision, name)
            break
        except FileNotFoundError as error:
            # The next name is tried only if the repository is known to lack this file.
            if not isinstance(error.__cause__, EntryNotFoundError) or isinstance(error.__cause__, FileNotFoundError):
                raise
    if path is None:
        raise FileNotFoundError(f'{source}: the repository has neither {" nor ".join(_WEIGHTS)}; name the file: '
                                f'hf://{repo}/FILE')
    try:
        config = _config(_fetch(source, repo, revision, 'config.json'))
    except FileNotFoundError:
        config = {}
    return Located(path, config)


def _fetch(source: str, repo: str, revision: Optional[str], file: str) -> Path:
    """Fetches one file through huggingface_hub, which keeps a cache and honours HF_HUB_OFFLINE."""
    from huggingface_hub import errors, hf_hub_download
    try:
        return Path(hf_hub_download(repo, file, revision=revision))
    except errors.GatedRepoError as error:
        problem = f'{repo} wants its conditions accepted; do so on its page and log in with: hf auth login'
        raise CheckpointError(f'{source}: {problem}') from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(f'{source}: the hub has no repository {repo}, or it is private; check the name, or log '
                                'in with: hf auth login') from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f'{source}: {repo} has no revision {revision}; leave @{revision} out for the newest, '
                                'or name a branch, tag or commit') from error
    except errors.LocalEntryNotFoundError as error:
        offline = os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'TRUE', 'YES', 'ON')
        why = 'HF_HUB_OFFLINE is set' if offline else 'the hub cannot be reached'
        raise FileNotFoundError(f'{source}: {why}, and {file} is not in the cache; fetch it where there is a network '
                                f'(hf download {repo} {file}) and give the file by its path') from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(f'{source}: {repo} has no file {file}; look at its list of files, and name one: '
                                f'hf://{repo}/FILE') from error
    except (errors.HFValidationError, errors.HfHubHTTPError, OSError) as error:
        line = first_line(error)
        raise CheckpointError(f'{source}: the hub answered with an error ({type(error).__name__}: {line}); try again '
                              f'later, or fetch it by hand (hf download {repo} {file}) and give its path') from error


def _download(address: str) -> Path:
    """Downloads a file to PyTorch's hub folder, unless it is there; one process per machine, while the others wait."""
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


def timm_weights(source: str) -> Dict[str, Any]:
    """Returns the pretrained weights of 'timm://NAME', through timm and its cache.

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such model, or it has no pretrained weights.
        CheckpointError: The weights cannot be fetched.
    """
    name = source[len('timm://'):]
    require_modules(('timm', ), 'timm', source)
    import timm
    if not timm.is_model(name.split('.')[0]):
        near = timm.list_models(f'*{name.split("_")[0]}*')[:5]
        hint = f'such as {", ".join(near)}' if near else 'timm.list_models() has the names'
        raise ValueError(f'{source}: timm has no model {name!r}; {hint}')
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        line = first_line(error)
        kind = ValueError if isinstance(error, RuntimeError) and 'pretrained' in line.lower() else CheckpointError
        raise kind(f'{source}: timm cannot give its weights ({type(error).__name__}: {line}); check the name and the '
                   'network') from error
