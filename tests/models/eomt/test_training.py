"""EoMT's miniature in a real training: masks that go, a validation, checkpoints, and one that goes on from them."""

import json

import pytest
import torch

from mmlocat.engine import AnnealMasks
from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from tests.conftest import ROOT

CONFIG = str(ROOT / 'configs' / 'locatvit-nano_eomt_digitscenes.py')


@pytest.fixture
def job(digit_scenes, tmp_path):
    given = {'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4, 'param_scheduler.0.end': 1,
             'param_scheduler.1.begin': 1, 'param_scheduler.1.end': 4, 'default_hooks.checkpoint.interval': 2,
             'train_dataloader.batch_size': 2}
    given.update({f'{split}_dataloader.dataset.data_root': digit_scenes for split in ('train', 'val', 'test')})

    def run(*arguments):
        return training_job([CONFIG, '--work-dir', str(tmp_path / 'w'), '--allow-random-backbone', *arguments,
                             '--cfg-options', *(f'{key}={value}' for key, value in given.items())])()
    return run


def test_its_masks_go_and_a_resumed_training_ends_with_the_same_weights(job, tmp_path, digit_scenes):
    job()
    validated = json.loads(next((tmp_path / 'w').glob('*/vis_data/*.json')).read_text().splitlines()[-1])
    assert 0 <= validated['mIoU'] <= 100
    states = {number: torch.load(tmp_path / 'w' / f'iter_{number}.pth', map_location='cpu', weights_only=False)
              for number in (2, 4)}
    hook = AnnealMasks()
    for number, state in states.items():  # the shares of the last iteration before the checkpoint
        torch.testing.assert_close(state['state_dict']['decode_head.stored_shares'],
                                   torch.tensor(hook.shares((number - 1) / 4, 2)))
    assert states[4]['state_dict']['decode_head.stored_shares'].tolist() == [0., pytest.approx(0.5**0.9)]
    (tmp_path / 'w' / 'iter_4.pth').unlink()
    (tmp_path / 'w' / 'last_checkpoint').write_text(str(tmp_path / 'w' / 'iter_2.pth'))
    job('--resume')
    again = torch.load(tmp_path / 'w' / 'iter_4.pth', map_location='cpu', weights_only=False)
    assert again['state_dict'].keys() == states[4]['state_dict'].keys()
    for name, value in again['state_dict'].items():
        assert torch.equal(value, states[4]['state_dict'][name]), name

    metrics = make_test_job([
        CONFIG, str(tmp_path / 'w' / 'iter_4.pth'), '--tta', '--work-dir', str(tmp_path / 'tested'), '--cfg-options',
        f'test_dataloader.dataset.data_root={digit_scenes}'])()
    assert 0 <= metrics['mIoU'] <= 100
