#!/usr/bin/env python
"""Writes model-index.yml and configs/metafiles/ of this checkout anew: for after a config was added or changed."""

import argparse
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.experiments.leaderboard.metafiles import write
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import share_folder, stoppable

if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__).parse_args()
    with stoppable():
        for path in prepare_or_exit(lambda: write(share_folder())):
            print(path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path)
