#!/usr/bin/env python
"""Tells what a config will do, without data, weights or a GPU: ``python tools/analysis/recipe.py CONFIG``."""

from mmlocat.analysis.recipe import recipe_job
from mmlocat.engine.cli import prepare_or_exit

if __name__ == '__main__':
    prepare_or_exit(recipe_job)()
