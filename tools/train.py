#!/usr/bin/env python
"""Trains a config of MMPretrain or MMSegmentation: ``python tools/train.py CONFIG [...]``."""

from mmlocat.engine.cli import prepare_or_exit, training_job

if __name__ == '__main__':
    prepare_or_exit(training_job)()
