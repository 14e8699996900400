#!/usr/bin/env python
"""Tests a checkpoint with MMPretrain or MMSegmentation: ``python tools/test.py CONFIG CHECKPOINT [...]``."""

from mmlocat.engine.cli import prepare_or_exit, test_job

if __name__ == '__main__':
    prepare_or_exit(test_job)()
