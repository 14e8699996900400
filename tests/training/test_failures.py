"""What fails while it runs goes into the log, and the log's path comes last."""

import pytest

from mmlocat.training.cli import run_job, training_job
from mmlocat.training.saving import CheckpointNotSaved
from tests.conftest import ROOT


@pytest.mark.parametrize(('error', 'line'), [
    (RuntimeError('out of ideas'), 'Error: RuntimeError: out of ideas.'),
    (KeyError('loss'), "Error: KeyError: 'loss'."),
    (CheckpointNotSaved('checkpoint a.pth could not be written'), 'Error: checkpoint a.pth could not be written.'),
])
def test_a_failure_ends_with_the_log(error, line, digit_scenes, tmp_path, capsys):
    def prepare():
        training_job([str(ROOT / 'configs' / 'vit-nano_digitscenes.py'), '--work-dir', str(tmp_path), '--no-data-check',
                      '--cfg-options', f'train_dataloader.dataset.data_root={digit_scenes}',
                      f'val_dataloader.dataset.data_root={digit_scenes}',
                      # Runs of one second would share MMEngine's log.
                      f'experiment_name={type(error).__name__}'])
        return fail

    def fail():
        raise error

    with pytest.raises(SystemExit) as end:
        run_job(prepare)
    log, = tmp_path.glob('*/*.log')
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.splitlines()[-1] == f'{line} The log: {log}'
    traced = not isinstance(error, CheckpointNotSaved)
    assert ('Traceback' in log.read_text()) == traced and ('in fail' in log.read_text()) == traced
