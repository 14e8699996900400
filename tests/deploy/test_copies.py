"""Models that are copied: pickled, deep-copied, averaged, saved whole, replicated."""

import copy
import io
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmlocat.checkpoints import to_timm_names
from mmlocat.models import LocAtViT
from mmlocat.training.cli import training_job
from tests.conftest import NANO, ROOT
from tests.helpers.random_models import random_model

SECTION = 'Exported and compiled'
NAMES = ['locatvit-nano_digitscenes', 'locatvit-nano_linear_digitscenes', 'locatvit-nano_upernet_digitscenes']


def by_torch_save(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = dict(pickle=lambda model: pickle.loads(pickle.dumps(model)), deepcopy=copy.deepcopy, torch_save=by_torch_save)


@pytest.fixture(scope='module', params=NAMES)
def model(request):
    return random_model(Config.fromfile(ROOT / 'configs' / f'{request.param}.py'))


@pytest.mark.parametrize('how', COPIES)
def test_a_copy_computes_the_same_and_is_its_own(model, how, figure):
    images = torch.randn(2, 3, 24, 30)
    with torch.no_grad():
        expected = model(images)
        copied = COPIES[how](model)
        actual = copied(images)
        assert torch.equal(actual, expected) and expected.abs().max() > 0.01
        copied.backbone.layers[0].attn.gaug.log_alpha.bias.add_(1)
        assert torch.equal(model(images), expected) and not torch.equal(copied(images), expected)
    figure(SECTION, f'{how} of classifier, linear and UperNet segmentor: largest difference',
           (actual - expected).abs().max().item())


@pytest.mark.parametrize('how', COPIES)
def test_the_load_hook_of_a_copy_is_about_the_copy(how):
    """It may replace the Gaussian kernel by that of a checkpoint: of the model that loads."""
    model = LocAtViT(dict(NANO, num_layers=1), 24, 4)
    copied = COPIES[how](model)
    copied.load_state_dict(LocAtViT(dict(NANO, num_layers=1), 32, 4).state_dict())
    assert copied.kernel.ref_grid == copied.layers[0].attn.gaug.kernel.ref_grid == (8, 8)
    assert model.kernel.ref_grid == model.layers[0].attn.gaug.kernel.ref_grid == (6, 6)
    assert copied.state_dict()._metadata['']['ref_grid'] == (8, 8)


class Recorder(Hook):
    """Averages by the formula what the weights are after each iteration."""

    def __init__(self, momentum):
        self.momentum, self.average = momentum, None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        weights = {name: value.detach().cpu().clone() for name, value in runner.model.named_parameters()}
        if self.average is None:
            self.average = weights
        for name, value in weights.items():
            self.average[name] = (1 - self.momentum) * self.average[name] + self.momentum * value


def test_ema_hook(digit_scenes, tmp_path, figure):
    path = tmp_path / 'ema.py'
    path.write_text(f"_base_ = '{ROOT}/configs/locatvit-nano_digitscenes.py'\n"
                    "custom_hooks = [dict(type='EMAHook', momentum=0.3)]\n"
                    'param_scheduler = []\noptim_wrapper = dict(optimizer=dict(lr=1e-2))\n')
    data = [f'{name}_dataloader.dataset.data_root={digit_scenes}' for name in ('train', 'val', 'test')]
    train = training_job([str(path), '--work-dir', str(tmp_path / 'w'), '--cfg-options', 'train_cfg.max_epochs=2',
                          *data])
    runner = train.__self__
    recorder = Recorder(0.3)
    runner.register_hook(recorder, priority='HIGH')
    runner.train()
    saved = torch.load(tmp_path / 'w' / 'epoch_2.pth', map_location='cpu', weights_only=False)
    raw = {name[len('module.'):]: value for name, value in saved['ema_state_dict'].items() if name != 'steps'}
    largest = max((saved['state_dict'][name] - value).abs().max().item() for name, value in recorder.average.items())
    assert saved['state_dict']._metadata['backbone']['ref_grid'] == (6, 6)
    assert largest < 1e-6
    # The average is not what was trained: mmengine saves it as the weights, and those trained beside it.
    assert max((raw[name] - value).abs().max() for name, value in recorder.average.items()) > 1e-4
    figure(SECTION, "mmengine's EMAHook, 6 iterations: largest difference of the average from its formula", largest)


def test_ema_hook_starts_from_translated_weights_without_a_head_of_other_classes(digit_scenes, tmp_path):
    """The hook copies what ``load_from`` names before any training; the weights have timm's names, 12 classes."""
    source = random_model(Config.fromfile(ROOT / 'configs' / 'locatvit-nano_digitscenes.py')).backbone
    named = {**to_timm_names(source.state_dict()), 'head.weight': torch.ones(12, 64), 'head.bias': torch.ones(12)}
    torch.save(named, tmp_path / 'x.pth')
    (tmp_path / 'ema.py').write_text(f"_base_ = '{ROOT}/configs/locatvit-nano_digitscenes.py'\n"
                                     f"custom_hooks = [dict(type='EMAHook')]\nload_from = '{tmp_path}/x.pth'\n")
    data = [f'{name}_dataloader.dataset.data_root={digit_scenes}' for name in ('train', 'val', 'test')]
    train = training_job([str(tmp_path / 'ema.py'), '--work-dir', str(tmp_path / 'w'), '--cfg-options', *data])
    runner = train.__self__
    runner.call_hook('before_run')
    runner.load_or_resume()
    average = next(hook.ema_model.module for hook in runner.hooks if hasattr(hook, 'ema_model'))
    for model in (average, runner.model):
        assert torch.equal(model.backbone.layers[1].attn.qkv.weight, source.layers[1].attn.qkv.weight)
    assert torch.equal(average.head.layers.head.weight, runner.model.head.layers.head.weight)


def test_replicas_in_threads_compute_and_have_gradients(monkeypatch, figure):
    """``torch.nn.parallel.replicate``, as DataParallel calls it; its copying between GPUs is done on the CPU."""
    def broadcast(tensors, devices, detach=False):
        return [[tensor.detach().clone() if detach else tensor.clone() for tensor in tensors] for _ in devices]

    module = sys.modules['torch.nn.parallel.replicate']
    monkeypatch.setattr(module, '_broadcast_coalesced_reshape', broadcast)
    model = random_model(Config.fromfile(ROOT / 'configs' / 'locatvit-nano_digitscenes.py'))
    model.train()
    images = torch.randn(6, 3, 24, 28)
    expected = model(images)
    expected.square().sum().backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()
    replicas = module.replicate(model, [0, 1, 2])
    assert replicas[1].backbone.pos_embed is not model.backbone.pos_embed
    with ThreadPoolExecutor(3) as pool:
        outputs = list(pool.map(lambda pair: pair[0](pair[1]), zip(replicas, images.chunk(3))))
    actual = torch.cat(outputs)
    assert torch.allclose(actual, expected, atol=1e-5)
    actual.square().sum().backward()
    largest = max((value.grad - gradients[name]).abs().max().item() / max(1, gradients[name].abs().max().item())
                  for name, value in model.named_parameters())
    assert largest < 1e-4 and all(gradient.abs().max() > 0 for gradient in gradients.values())
    figure(SECTION, "DataParallel's replicas, 3 threads: largest relative difference of gradients", largest)


def test_functional_call_with_other_weights():
    model = LocAtViT(dict(NANO, num_layers=1), 24, 4).eval()
    other = LocAtViT(dict(NANO, num_layers=1), 24, 4).eval()
    images = torch.randn(1, 3, 24, 24)
    actual = torch.func.functional_call(model, dict(other.named_parameters()), (images, ))[0]
    assert torch.equal(actual, other(images)[0]) and not torch.equal(actual, model(images)[0])
