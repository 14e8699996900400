"""Describes the machine and software of a measurement: processor, driver, versions and commit."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from datetime import date, datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from .files import share_folder

_PACKAGE = Path(__file__).resolve().parent.parent
# Names of distributions; of those that provide the same modules, only one is installed.
_DISTRIBUTIONS = ('numpy', 'torchvision', 'triton', 'pytorch-triton', 'onedl-mmengine', 'onedl-mmcv',
                  'onedl-mmpretrain', 'onedl-mmsegmentation', 'mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation',
                  'faiss-cpu', 'faiss-gpu')


def processor(device: str) -> str:
    """Returns the name of a GPU or of the machine's CPU."""
    import torch
    if device.startswith('cuda'):
        return torch.cuda.get_device_name(device)
    facts = Path('/proc/cpuinfo')
    found = re.search(r'^model name\s*: (.+)$', facts.read_text(), re.MULTILINE) if facts.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def machine(device: str) -> str:
    """Describes date, processor, threads and PyTorch in one line."""
    import torch
    name = processor(device)
    if not device.startswith('cuda'):
        name = f'{name}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}'
    return f'{date.today()}, {name}, PyTorch {torch.__version__}'


def _output(*command: str) -> Optional[str]:
    """Returns the output of a command; None if it cannot be run, fails or takes too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def checkout() -> Optional[Tuple[str, bool]]:
    """Returns the commit of this package, None if it has none, and whether files differ from it or git cannot tell."""
    root = _PACKAGE.parent
    found = _output('git', '-C', str(root), 'rev-parse', 'HEAD') if (root / '.git').exists() else None
    if not found:
        return None
    changed = _output('git', '-C', str(root), 'status', '--porcelain', '--untracked-files=no')
    return found, changed != ''


def commit() -> str:
    """Returns what ``checkout`` does, in words."""
    found = checkout()
    return 'unknown: not a git checkout' if found is None else found[0][:12] + (', with changes' if found[1] else '')


def versions() -> Dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    import torch

    import mmlocat
    found = {'python': platform.python_version(), 'mmlocat': mmlocat.__version__, 'torch': torch.__version__}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def code() -> str:
    """Returns the beginning of a hash of this package's code and configs, which sees changes that nobody committed."""
    digest = hashlib.sha256()
    for folder in (_PACKAGE, share_folder() / 'configs'):
        for path in sorted(folder.rglob('*.py')):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def conditions(device: str) -> Dict[str, Any]:
    """Returns what two measurements must have in common to stand in one table, as JSON-ready data.

    Args:
        device: Such as 'cpu' or 'cuda'.
    """
    import torch
    return dict(processor=processor(device), driver=driver(device), threads=torch.get_num_threads(), code=code(),
                **versions())


def driver(device: str) -> Optional[str]:
    """Returns the version of the driver of a GPU; None for a CPU."""
    if not device.startswith('cuda'):
        return None
    found = _output('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader') or 'unknown'
    return found.split('\n')[0]


def machine_and_software(device: str) -> Dict[str, Any]:
    """Describes date, processor, driver, CUDA, versions and commit, as JSON-ready data.

    Args:
        device: Such as 'cpu' or 'cuda'.
    """
    import torch
    cuda = device.startswith('cuda')
    return dict(date=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), device=device, card=processor(device),
                driver=driver(device), cuda=torch.version.cuda if cuda else None,
                versions=versions(), commit=commit())
