"""Runs a tool as a user does, but in this process: importing OpenMMLab takes ten seconds in another."""

import importlib.util
import sys

from tests.conftest import ROOT


def run_tool(script, *arguments):
    """Runs a script below tools/ with these arguments; SystemExit of a success is swallowed."""
    spec = importlib.util.spec_from_file_location('__main__', ROOT / 'tools' / script)
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except SystemExit as stop:
        if stop.code:
            raise
    finally:
        sys.argv = argv
