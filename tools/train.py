#!/usr/bin/env python
"""Trains a config of MMPretrain or MMSegmentation: ``python tools/train.py CONFIG [...]``."""

from mmlocat.utils import stoppable

if __name__ == '__main__':
    with stoppable():  # the imports alone take seconds
        from mmlocat.training.cli import run_job, training_job
    run_job(training_job)
