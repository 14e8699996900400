"""Checks that packages can be imported, and says which extra of mmlocat installs a missing one."""

from __future__ import annotations

import importlib


def require_openmmlab(needed_by: str) -> None:
    """Makes sure that the OpenMMLab packages can be imported; see ``require_modules``."""
    require_modules(('mmengine', 'mmcv', 'mmpretrain', 'mmseg'), 'onedl', needed_by,
                    'the maintained builds, or pip install "mmlocat[openmmlab]" for the upstream releases')


def require_modules(modules: tuple, extra: str, needed_by: str, remark: str = '') -> None:
    """Imports ``modules`` or says which extra installs a missing one.

    Args:
        modules: Names of importable modules.
        extra: The extra of mmlocat that installs them.
        needed_by: The module or tool that needs them, for the message.
        remark: Further advice for the message.

    Raises:
        ImportError: One of them cannot be imported.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except (ImportError, AssertionError) as error:  # mmseg and mmpretrain assert mmcv's version
            advice = f' ({remark})' if remark else ''
            raise ImportError(f'{needed_by} needs {name}, which does not import here ({error}). '
                              f'Install it with: pip install "mmlocat[{extra}]"{advice}') from error
