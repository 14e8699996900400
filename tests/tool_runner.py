"""Runs a tool as a user does, but in this process: importing OpenMMLab takes ten seconds in another."""

import importlib.util
import sys

from conftest import ROOT


def run_tool(script, *arguments):
    """Runs a script below tools/ with these arguments; it may raise SystemExit."""
    spec = importlib.util.spec_from_file_location('__main__', ROOT / 'tools' / script)
    argv, sys.argv = sys.argv, [script, *map(str, arguments)]
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        sys.argv = argv
