"""What a report was measured on: card, driver, versions, commit."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Dict

import torch

import mmlocat
from mmlocat.utils.machine import processor

# Names of distributions; of those that bring the same modules, one is installed.
_PACKAGES = ('torch', 'triton', 'pytorch-triton', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain',
             'onedl-mmsegmentation', 'mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation')


def _said(*command: str) -> str:
    """Returns what a command prints, or '' where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ''


def driver() -> str:
    """Returns the version of the NVIDIA driver."""
    said = _said('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')
    return said.splitlines()[0] if said else 'unknown'


def commit() -> str:
    """Returns the commit that is measured, and whether tracked files differ from it."""
    root = Path(mmlocat.__file__).resolve().parent.parent
    found = _said('git', '-C', str(root), 'rev-parse', 'HEAD') if (root / '.git').exists() else ''
    if not found:
        return 'unknown: not a git checkout'
    changed = _said('git', '-C', str(root), 'status', '--porcelain', '--untracked-files=no')
    return found[:12] + (', with changes' if changed else '')


def about(device: str) -> Dict[str, Any]:
    """Describes machine and software.

    Args:
        device: Such as 'cpu' or 'cuda'.
    """
    versions = {'python': platform.python_version(), 'mmlocat': mmlocat.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    versions['torch'] = torch.__version__  # with the CUDA it was built for
    cuda = device.startswith('cuda')
    return dict(date=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), device=device,
                card=processor(device), driver=driver() if cuda else None,
                cuda=torch.version.cuda if cuda else None, versions=versions, commit=commit())
