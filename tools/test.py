#!/usr/bin/env python
"""Tests a checkpoint with MMPretrain or MMSegmentation: ``python tools/test.py CONFIG CHECKPOINT [...]``."""

from mmlocat.engine.cli import run_job, test_job

if __name__ == '__main__':
    run_job(test_job)
