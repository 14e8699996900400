"""NaN and infinity injected into real trainings of both libraries: where, when, and what is still good."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, TRANSFORMS

from mmlocat.training import nonfinite
from mmlocat.training.cli import training_job
from mmlocat.training.nonfinite import NonFiniteError, NonFiniteHook, _all_finite, _origin
from tests.conftest import ROOT

CLASSIFIER, SEGMENTOR = 'locatvit-nano_digitscenes.py', 'locatvit-nano_linear_digitscenes.py'
SAVED = dict(zip((CLASSIFIER, SEGMENTOR), ('epoch_1.pth', 'iter_2.pth')))
HEADS = dict(zip((CLASSIFIER, SEGMENTOR), ('head.layers.head.weight', 'decode_head.conv_seg.weight')))


@TRANSFORMS.register_module()
class PoisonPixel(BaseTransform):
    """Makes the images numbers with a point, and one pixel of one image NaN."""

    def __init__(self, image='none', value=float('nan')):
        self.image, self.value = image, value

    def transform(self, results):
        results['img'] = results['img'].astype(np.float32)
        if results['img_path'].endswith(self.image):
            results['img'][3, 4, 1] = self.value
        return results


@HOOKS.register_module()
class Poison(Hook):
    """Breaks a parameter, or its gradient, at an iteration (from 1)."""

    def __init__(self, iteration, parameter, gradient=False, value=float('nan')):
        self.iteration, self.parameter, self.gradient, self.value = iteration, parameter, gradient, value

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 != self.iteration:
            return
        parameter = dict(runner.model.named_parameters())[self.parameter]
        if self.gradient:
            def spoil(gradient):
                if runner.iter + 1 == self.iteration:
                    return torch.full_like(gradient, self.value)
            parameter.register_hook(spoil)
        else:
            with torch.no_grad():
                parameter.view(-1)[1] = self.value


_numbers = itertools.count()


def run(name, data_root, work_dir, *poison, image=None):
    """Trains 6 iterations with something broken; a checkpoint is saved after the second."""
    classifies = name == CLASSIFIER
    pipeline = [dict(type='LoadImageFromFile'), *([] if classifies else [dict(type='LoadAnnotations')])]
    pipeline += [dict(type='PoisonPixel', image=image)] if image else []
    pipeline += [dict(type='PackInputs' if classifies else 'PackSegInputs')]
    # A name of its own: runs of one name and one second would share MMEngine's scope.
    config = work_dir / f'broken_{next(_numbers)}.py'
    config.write_text(f'_base_ = {str(ROOT / "configs" / name)!r}\nnan, inf = float("nan"), float("inf")\n'
                      f'train_dataloader = dict(dataset=dict(pipeline={pipeline!r}))\ncustom_hooks = {[*poison]!r}\n')
    lengths = ('train_cfg.max_epochs=3', 'train_cfg.val_interval=99', 'train_dataloader.batch_size=80') if classifies \
        else ('train_cfg.max_iters=6', 'train_cfg.val_interval=6', 'param_scheduler.0.total_steps=6',
              'default_hooks.checkpoint.interval=2', 'train_dataloader.batch_size=8')
    roots = [f'{loader}_dataloader.dataset.data_root={data_root}' for loader in ('train', 'val', 'test')]
    job = training_job([str(config), '--work-dir', str(work_dir / 'work'), '--allow-random-backbone', '--no-validate',
                        '--cfg-options', *roots, *lengths])
    return job()


def stops(*args, **kwargs):
    with pytest.raises(NonFiniteError) as error:
        run(*args, **kwargs)
    work_dir = args[2] / 'work'
    message = str(error.value)
    assert '\n' not in message
    log, = work_dir.glob('*/*.log')
    assert message in log.read_text()
    for file in work_dir.glob('*.pth'):
        weights = torch.load(file, weights_only=False)['state_dict']
        assert all(torch.isfinite(value).all() for value in weights.values()), file
    return message, work_dir


@pytest.mark.parametrize('name', [CLASSIFIER, SEGMENTOR])
def test_a_poisoned_parameter_is_named_with_the_last_good_checkpoint(name, digit_scenes, tmp_path):
    message, work_dir = stops(name, digit_scenes, tmp_path, dict(type='Poison', iteration=4, parameter=HEADS[name]))
    good = work_dir / SAVED[name]
    assert message.startswith('iteration 4') and ('(epoch 2)' in message) == (name == CLASSIFIER)
    assert 'loss' in message or 'gradient' in message
    assert f'first parameter that is not finite: {HEADS[name]} (1 in all)' in message
    assert f'last good checkpoint: {good}; to go on from it: --resume {good}' in message and good.is_file()


@pytest.mark.parametrize('name', [CLASSIFIER, SEGMENTOR])
def test_an_image_with_nan_is_named(name, digit_scenes, tmp_path):
    folder = 'classification/train' if name == CLASSIFIER else 'segmentation/images/train'
    image = sorted((digit_scenes / folder).glob('**/*.png'))[0]
    message, _ = stops(name, digit_scenes, tmp_path, image=image.name)
    assert f'all parameters are finite, but image {image}' in message


@pytest.mark.parametrize('name', [CLASSIFIER, SEGMENTOR])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_gradient_is_caught_before_the_step(name, value, digit_scenes, tmp_path):
    """The step would spread it over the weights. Clipping (the classifier's) has spread a NaN over all gradients."""
    poison = dict(type='Poison', iteration=3, parameter=HEADS[name], gradient=True, value=value)
    message, work_dir = stops(name, digit_scenes, tmp_path, poison)
    assert 'iteration 3' in message and 'a gradient is not finite' in message
    assert f'first gradient that is not: that of {HEADS[name]} (1 of ' in message or (
        value != value and name == CLASSIFIER and '(72 of 72)' in message)
    assert str(work_dir / SAVED[name]) in message


@pytest.mark.parametrize('stack', [torch.stack, list])
def test_of_several_crops_image_and_crop_are_named(stack):
    """DINO's batches are lists of views, each of all images; views may be stacked or not."""
    views = [[torch.zeros(3, side, side) for _ in range(3)] for side in (8, 8, 4)]
    views[1][2][0, 0, 0] = float('nan')
    batch = dict(inputs=[stack(view) for view in views],
                 data_samples=[SimpleNamespace(img_path=f'{name}.png') for name in 'abc'])
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    assert _origin(runner, batch) == 'all parameters are finite, but image c.png (crop 1) is not'
    views[1][2][0, 0, 0] = 0
    batch['inputs'] = [stack(view) for view in views]
    assert _origin(runner, batch) == 'all parameters and images are finite'


def test_an_overflow_in_the_network_leaves_no_checkpoint(digit_scenes, tmp_path):
    poison = dict(type='Poison', iteration=1, parameter='backbone.layers.2.attn.qkv.weight', value=3e38)
    message, work_dir = stops(CLASSIFIER, digit_scenes, tmp_path, poison)
    assert message.startswith('iteration 1 (epoch 1)') and 'no checkpoint was saved' in message
    assert 'all parameters and images are finite' in message and not list(work_dir.glob('*.pth'))


class Scaled(OptimWrapper):
    """A wrapper with a loss scaler, as mmengine's ``AmpOptimWrapper`` on a GPU."""

    loss_scaler = SimpleNamespace(is_enabled=lambda: True, get_scale=lambda: Scaled.scale)
    scale = 1024.


def watched(kind):
    """Returns a small model, its optimizer wrapper, and the hook that watches them, with its runner."""
    model = torch.nn.Linear(2, 1)
    wrapper = kind(optimizer=torch.optim.SGD(model.parameters(), lr=0.))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, iter=19, max_epochs=1, logger=MMLogger('scaled'),
                             message_hub=MessageHub('scaled'))
    hook = NonFiniteHook()
    hook.before_train(runner)
    return model, wrapper, hook, runner


@pytest.mark.parametrize('kind', [OptimWrapper, Scaled])
def test_what_another_process_found_stops_this_one(kind, monkeypatch):
    """Which would wait for the other forever."""
    model, wrapper, hook, runner = watched(kind)
    monkeypatch.setattr(nonfinite, 'all_reduce', lambda flag, op: flag.zero_() if op == 'min' else None)
    model.weight.grad = torch.ones_like(model.weight)
    if kind is Scaled:
        wrapper.optimizer.step()  # the scaler agrees with the others by itself
    else:
        with pytest.raises(NonFiniteError, match='iteration 20: a gradient is not finite'):
            wrapper.optimizer.step()
    with pytest.raises(NonFiniteError, match='iteration 20: a loss of another process is not finite'):
        hook.after_train_iter(runner, 0, None, dict(loss=torch.ones(())))


def test_under_a_loss_scaler_infinite_gradients_are_ordinary_and_nan_losses_are_not():
    model, wrapper, hook, runner = watched(Scaled)
    model.weight.grad = torch.full_like(model.weight, float('inf'))
    wrapper.optimizer.step()  # not stopped: the scaler would skip it
    with torch.no_grad():
        model.weight.zero_()
    hook.after_train_iter(runner, 0, None, dict(loss=torch.ones(())))
    with pytest.raises(NonFiniteError, match='iteration 20: loss is nan; all parameters and images are finite'):
        hook.after_train_iter(runner, 0, None, dict(loss=torch.tensor(float('nan'))))
    Scaled.scale = 1e-7
    with pytest.raises(NonFiniteError, match='gradients are not finite at any loss scale .*; first gradient that is '
                                             r'not: that of weight \(1 of 1\)'):
        hook.after_train_iter(runner, 0, None, dict(loss=torch.ones(())))


def test_tells_finite_from_not():
    assert _all_finite([torch.tensor([3e38, -3e38]), torch.tensor([65504.], dtype=torch.float16), torch.ones(0)])
    assert _all_finite([torch.arange(3)]) and _all_finite([])
    for bad in (float('nan'), float('inf'), -float('inf')):
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            assert not _all_finite([torch.ones(3), torch.tensor([1., bad], dtype=dtype)])
