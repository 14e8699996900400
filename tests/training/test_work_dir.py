"""Two trainings do not share a work dir."""

import os
import signal
import time

import pytest
from mmengine.config import Config

from mmlocat.training.context import Context
from mmlocat.training.provenance import claim_work_dir
from mmlocat.training.runner import CheckedRunner


def claim(folder):
    claim_work_dir(Config(dict(work_dir=str(folder))), Context())


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks a process')
def test_a_work_dir_is_one_trainings_until_that_has_ended(tmp_path):
    folder = tmp_path / 'new' / 'work'
    read, write = os.pipe()
    child = os.fork()
    if not child:
        claim(folder)
        claim(folder)  # its own once more
        os.write(write, b'1')
        time.sleep(60)
        os._exit(1)
    try:
        assert os.read(read, 1) == b'1'
        message = rf'another training \(process {child} on .*\) writes to {folder}; give .*--work-dir'
        with pytest.raises(RuntimeError, match=message):
            claim(folder)
        claim(tmp_path / 'other')
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    claim(folder)  # nothing is left of a killed process


@pytest.mark.parametrize('job', [None, 'train', 'test'])
def test_a_file_is_no_work_dir(job, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='--work-dir .*file is a file, not a folder'):
        CheckedRunner.from_cfg(Config(dict(work_dir=str(tmp_path / 'file'))), job)
