"""Which versions of a dependency have a fault that this package works around.

A test of a fault shows the fault itself: it fails when the fault is gone, which is when the workaround can go too.
"""

from importlib import import_module

import pytest


def needs_fault(package, since=None, until=None):
    """Skips a test where the installed version of a package does not have the fault.

    Args:
        package: Name of the module.
        since: The first version that has it, as (major, minor); None for all before ``until``.
        until: The first version without it; None where no version is known to be without.
    """
    version = pytest.importorskip(package, reason=f'{package} is not installed').__version__
    number = tuple(int(part) for part in version.split('+')[0].split('.')[:2])
    if since is not None and number < since or until is not None and number >= until:
        pytest.skip(f'{package} {version} does not have this fault')
    return import_module(package)
