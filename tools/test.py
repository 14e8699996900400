#!/usr/bin/env python
"""Tests a checkpoint with MMPretrain or MMSegmentation: ``python tools/test.py CONFIG CHECKPOINT [...]``."""

from mmlocat.utils import stoppable

if __name__ == '__main__':
    with stoppable():  # the imports alone take seconds
        from mmlocat.training.cli import run_job, test_job
    run_job(test_job)
