#!/usr/bin/env python
"""Trains a config of MMPretrain or MMSegmentation: ``python tools/train.py CONFIG [...]``."""

from mmlocat.engine.cli import run_job, training_job

if __name__ == '__main__':
    run_job(training_job)
