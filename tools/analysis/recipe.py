#!/usr/bin/env python
"""Tells what a config will do, without data, weights or a GPU: ``python tools/analysis/recipe.py CONFIG``."""

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen()  # before the imports, which take seconds

from mmlocat.analysis.recipe import recipe_job
from mmlocat.training.cli import prepare_or_exit
from mmlocat.utils import stoppable

if __name__ == '__main__':
    with stoppable():
        prepare_or_exit(recipe_job)()
