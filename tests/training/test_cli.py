"""tools/train.py and tools/test.py in this process and as commands."""

import functools
import json

import pytest
import torch

from mmlocat import __version__
from mmlocat.training.cli import test_job as make_test_job
from mmlocat.training.cli import training_job
from tests.conftest import ROOT, skip_without_deterministic_resizing
from tests.helpers.forked import run_python

CONFIGS = ROOT / 'configs'


def tiny(data_root, *more):
    """Options that make a DigitScenes config a matter of seconds."""
    return ['--cfg-options', f'train_dataloader.dataset.data_root={data_root}',
            f'val_dataloader.dataset.data_root={data_root}', f'test_dataloader.dataset.data_root={data_root}', *more]


@pytest.fixture
def run(cpu_environment):
    return functools.partial(run_python, environment=cpu_environment)


def train(config, work_dir, *arguments):
    return training_job([str(CONFIGS / config), '--work-dir', str(work_dir), *arguments])()


@pytest.fixture(scope='module')
def pretrained(digit_scenes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('pretrain')
    train('locatvit-nano_digitscenes.py', work_dir,
          *tiny(digit_scenes, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1'))
    return work_dir / 'epoch_1.pth'


def test_classifier_then_frozen_segmentor(pretrained, digit_scenes, tmp_path):
    before = torch.load(pretrained, weights_only=False)['state_dict']
    assert any('gaug' in name for name in before)
    train('locatvit-nano_linear_digitscenes.py', tmp_path,
          *tiny(digit_scenes, f'checkpoint={pretrained}', 'train_cfg.max_iters=3', 'train_cfg.val_interval=3',
                'param_scheduler.0.total_steps=3', 'train_dataloader.batch_size=8'))
    after = torch.load(tmp_path / 'iter_3.pth', weights_only=False)['state_dict']
    frozen = [name for name in after if name.startswith('backbone.')]
    assert len(frozen) > 40
    for name in frozen:  # loaded from the classifier, and bit-identical after training
        assert torch.equal(after[name], before[name]), name

    metrics = make_test_job([
        str(CONFIGS / 'locatvit-nano_linear_digitscenes.py'), str(tmp_path / 'iter_3.pth'), '--work-dir',
        str(tmp_path / 'test'), '--out', str(tmp_path / 'maps'), *tiny(digit_scenes)])()
    assert 0 <= metrics['mIoU'] <= 100
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 9


def test_classifier_metrics_and_predictions(pretrained, digit_scenes, tmp_path):
    config = str(CONFIGS / 'locatvit-nano_digitscenes.py')
    for name in ('metrics.json', 'pred.pkl'):
        arguments = ['--work-dir', str(tmp_path), '--out', str(tmp_path / name)]
        make_test_job([config, str(pretrained), *arguments, *tiny(digit_scenes)])()
    assert 0 <= json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1'] <= 100
    assert (tmp_path / 'pred.pkl').stat().st_size > 1000


def test_resume_gives_what_an_uninterrupted_run_gives(digit_scenes, tmp_path):
    skip_without_deterministic_resizing()
    # Without it, kernels of a GPU add in any order.
    exact = ['randomness.deterministic=True'] if torch.cuda.is_available() else []
    options = ['--allow-random-backbone', *tiny(
        digit_scenes, *exact, 'train_cfg.max_iters=8', 'train_cfg.val_interval=8', 'param_scheduler.0.total_steps=8',
        'default_hooks.checkpoint.interval=4', 'default_hooks.checkpoint.max_keep_ckpts=2',
        'train_dataloader.batch_size=8')]
    config = 'locatvit-nano_linear_digitscenes.py'
    straight = train(config, tmp_path, *options).state_dict()
    # As if the run had been killed after its fourth iteration was saved.
    (tmp_path / 'iter_8.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_4.pth'))
    halfway = torch.load(tmp_path / 'iter_4.pth', weights_only=False)['state_dict']
    resumed = train(config, tmp_path, '--resume', *options).state_dict()
    assert (tmp_path / 'iter_8.pth').exists()
    assert all(torch.equal(value, straight[name]) for name, value in resumed.items())
    assert not torch.equal(halfway['decode_head.conv_seg.weight'], resumed['decode_head.conv_seg.weight'].cpu())


def test_first_line_states_batch_and_weights(digit_scenes, tmp_path, capsys):
    training_job([
        str(CONFIGS / 'vit-nano_linear_digitscenes.py'), '--work-dir', str(tmp_path), '--allow-random-backbone',
        *tiny(digit_scenes, 'train_dataloader.batch_size=8')])
    shown, said = capsys.readouterr()
    said = said.splitlines()
    assert said[0].startswith("mmlocat: Total batch 8 (1 x 8) is not the recipe's 32.")
    assert said[1] == 'mmlocat: The frozen backbone keeps random weights (--allow-random-backbone).'
    # The rest of the screen: some lines in place of pages, and none of the above again.
    log, = tmp_path.glob('*/*.log')
    assert f'whole config and environment: {log}' in shown and 'seed: 0' in shown and len(shown.splitlines()) < 8
    for page in ('Config:\n', 'System environment:', 'Hooks will be executed', 'Total batch 8', 'random weights'):
        assert page not in shown and log.read_text().count(page) == 1


@pytest.mark.parametrize(('arguments', 'message'), [
    (['locatvit_uperent_ade20k.py'], 'locatvit_uperent_ade20k.py does not exist; did you mean'),
    (['vit_linear_ade20k.py'], 'the backbone is frozen and has no weights'),
    (['locatvit_linear_ade20k.py'], 'hf://sinahmr/locatvit_base: the hub cannot be reached'),
    (['vit_upernet_ade20k.py', '--cfg-options', 'checkpoint=nowhere.pth'], 'checkpoint nowhere.pth does not exist'),
    (['vit_linear_ade20k.py', '--resume', 'gone.pth'], 'checkpoint gone.pth, to resume from, does not exist'),
    (['vit_imagenet.py', '--launcher', 'pytorch'], '--launcher pytorch needs torchrun'),
    (['vit-nano_digitscenes.py', '--amp', '--cfg-options', 'optim_wrapper.dtype=float64'],
     'optim_wrapper.dtype=float64: mixed precision takes bfloat16 or float16'),
])
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, run, tmp_path, cpu_environment):
    cpu_environment['HF_HUB_OFFLINE'] = '1'
    config, *options = arguments
    result = run(ROOT / 'tools' / 'train.py', CONFIGS / config, '--work-dir', tmp_path / 'w', *options)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith('Error: ')]
    assert len(errors) == 1 and message in errors[0]
    assert 'Traceback' not in result.stderr
    assert not (tmp_path / 'w').exists()


def test_missing_data_show_before_training(run, tmp_path, cpu_environment):
    del cpu_environment['PYTHONWARNINGS']
    result = run(ROOT / 'tools' / 'train.py', CONFIGS / 'vit_linear_ade20k.py', '--work-dir', tmp_path,
                 '--allow-random-backbone', '--cfg-options', 'train_dataloader.dataset.data_root=nowhere')
    assert result.returncode == 1
    error, = [line for line in result.stderr.splitlines() if line.startswith('Error: ')]
    assert 'nowhere' in error and 'Traceback' not in result.stderr
    # Nothing of other packages is on the screen.
    assert result.stderr.startswith(f'mmlocat {__version__}: loading PyTorch and OpenMMLab ...\n')
    assert 'Warning' not in result.stderr and 'OneDL' not in result.stdout and not result.stdout


def test_options_that_are_no_pairs(run):
    result = run(ROOT / 'tools' / 'train.py', 'x.py', '--cfg-options', 'checkpoint')
    assert result.returncode == 2 and "--cfg-options takes KEY=VALUE, got 'checkpoint'" in result.stderr


def test_missing_checkpoint_of_a_test(run, tmp_path):
    result = run(ROOT / 'tools' / 'test.py', CONFIGS / 'vit-nano_digitscenes.py', 'none.pth',
                 '--work-dir', tmp_path / 'w')
    assert result.returncode == 1 and 'Error: checkpoint none.pth does not exist' in result.stderr
