"""LocAtViT on PyTorch alone: equal to the published numbers with nothing of OpenMMLab to be had; weights that fit."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from mmlocat.attention import create_model
from mmlocat.attention.vit import VisionTransformer
from tests.attention.test_imports import BLOCK
from tests.conftest import assert_close, child_environment, golden_names, load_golden

CASES = [*golden_names('locatvit'), 'vit_rope_mixed']
SMALL = dict(img_size=16, patch_size=4, in_channels=1)


def build(name):
    """Builds the model of a golden case with its weights, under their published names; returns case and model."""
    case = load_golden(name)
    settings = case.kwargs
    weights = {key[len('weights/'):]: value for key, value in case.tensors.items() if key.startswith('weights/')}
    rope = dict(rope='mixed', layer_scale_init_value=1e-5) if 'rope.freqs' in weights else {}
    model = VisionTransformer(
        settings['embed_dim'], settings['depth'], settings['num_heads'], num_classes=len(weights['head.bias']),
        img_size=settings['img_size'], patch_size=settings['patch_size'],
        gaug='blocks.0.attn.gaug.log_var.weight' in weights, prr=settings.get('prr', 'LocAt' in case.kind),
        with_pos_embed='pos_embed' in weights, num_registers=weights.get('reg_token', torch.zeros(1, 0)).shape[1],
        no_embed_class=settings.get('no_embed_class', False), **rope)
    model.load_state_dict(weights, strict=True)
    return case, model.eval()


@torch.no_grad()
def check(name):
    """Compares maps, tokens where the case holds them, and logits with the published ones, at every size."""
    case, model = build(name)
    for i in range(len(case.sizes)):
        image = case.tensors[f'input_{i}']
        assert_close(model(image), case.tensors[f'logits_{i}'], 1e-5)
        if f'tokens_{i}' in case.tensors:
            assert_close(model.forward_features(image), case.tensors[f'tokens_{i}'], 1e-5)
        maps = model.feature_maps(image, case.indices)
        assert len(maps) == len(case.indices)
        for index, found in zip(case.indices, maps):
            assert_close(found, case.tensors[f'feat{index}_{i}'], 1e-5)


@pytest.mark.parametrize('name', CASES)
def test_maps_tokens_and_logits_are_the_published_ones(name):
    check(name)


def hub_folder(folder, **arguments):
    """Writes a hub snapshot of a Tiny of one-channel images of 16 px, whose GAug and head are seen; returns it."""
    torch.manual_seed(1)
    model = create_model('locatvit_tiny', num_classes=5, **{**SMALL, **arguments})
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    from mmlocat.checkpoints import to_timm_names
    folder.mkdir()
    save_file(to_timm_names(dict(model.state_dict())), str(folder / 'model.safetensors'))
    (folder / 'config.json').write_text(json.dumps(dict(img_size=16, patch_size=4)))
    return model.eval()


@torch.no_grad()
def test_without_openmmlab(tmp_path):
    """In a process where it cannot be imported: golden cases, a hub folder, and a checkpoint of MMEngine's Runner."""
    model, images = hub_folder(tmp_path / 'hub'), torch.randn(2, 1, 20, 16)
    (tmp_path / 'run.py').write_text(BLOCK + f'''
import torch
from mmlocat.attention import create_model
from tests.attention.test_vit import CASES, SMALL, check
for name in CASES:
    check(name)
images = torch.load({str(tmp_path / 'images.pth')!r})
logits = [create_model('locatvit_tiny', str(source), **SMALL)(images)
          for source in ({str(tmp_path / 'hub')!r}, {str(tmp_path / 'epoch_1.pth')!r})]
torch.save(logits, {str(tmp_path / 'logits.pth')!r})
print('fine')
''')
    torch.save(images, tmp_path / 'images.pth')
    runner_checkpoint(model, tmp_path / 'epoch_1.pth')
    result = subprocess.run([sys.executable, str(tmp_path / 'run.py')], env=child_environment(), capture_output=True,
                            text=True)
    assert result.stdout.strip() == 'fine', result.stderr
    for logits in torch.load(tmp_path / 'logits.pth'):
        torch.testing.assert_close(logits, model(images), rtol=0, atol=1e-6)


def runner_checkpoint(model, path):
    """Writes what MMEngine's Runner saves of a classifier: its names, its log's buffers, the curve of a OneCycleLR."""
    from mmlocat.checkpoints.names import to_classifier_names
    whole = dict(state_dict=to_classifier_names(model.state_dict()), meta=dict(epoch=1))
    try:
        from mmengine.logging import HistoryBuffer
        from mmengine.optim import OneCycleParamScheduler
        whole.update(message_hub=HistoryBuffer([1.], [1]), curve=OneCycleParamScheduler._annealing_cos)
    except ImportError:  # the weights alone, then
        pass
    torch.save(whole, path)


@torch.no_grad()
def test_num_classes(tmp_path):
    model, images, source = hub_folder(tmp_path / 'hub'), torch.randn(1, 1, 16, 16), str(tmp_path / 'hub')
    tokens = model.forward_features(images)
    for wanted, outputs in ((None, 5), (5, 5), (7, 7), (0, 192)):
        other = create_model('locatvit_tiny', source, wanted, **SMALL)
        torch.testing.assert_close(other.forward_features(images), tokens)
        assert other(images).shape == (1, outputs)
        assert torch.equal(other(images), model(images)) == (outputs == 5)
        assert other.allow_partial == () and not other.training
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith('head')}
    torch.save(weights, tmp_path / 'backbone.pth')
    with pytest.raises(RuntimeError, match='backbone.pth has no classification head; give num_classes=0 for features'):
        create_model('locatvit_tiny', str(tmp_path / 'backbone.pth'), **SMALL)
    assert create_model('locatvit_tiny', str(tmp_path / 'backbone.pth'), 3, **SMALL)(images).shape == (1, 3)


@pytest.mark.parametrize('head', ['head.', 'head.layers.head.', 'head.fc.', 'module.head.fc.'])
@torch.no_grad()
def test_heads_of_every_library(head, tmp_path, caplog):
    """Timm's and ours, and both of MMPretrain; the log names a head that is left out."""
    model, images = hub_folder(tmp_path / 'hub'), torch.randn(1, 1, 16, 16)
    backbone = 'module.backbone.' if head.startswith('module.') else 'backbone.'
    torch.save({head + name[5:] if name.startswith('head.') else backbone + name: value
                for name, value in model.state_dict().items()}, tmp_path / 'x.pth')
    for wanted in (None, 5):
        found = create_model('locatvit_tiny', str(tmp_path / 'x.pth'), wanted, **SMALL)
        assert torch.equal(found(images), model(images))
    with caplog.at_level('INFO', 'mmlocat'):
        create_model('locatvit_tiny', str(tmp_path / 'x.pth'), 7, **SMALL)
        create_model('locatvit_tiny', str(tmp_path / 'x.pth'), 0, **SMALL)
    dropped = f'x.pth: its head is left out: {head}weight, {head}bias; '
    assert dropped + 'that of 7 classes starts anew.' in caplog.text and dropped + 'the model has none.' in caplog.text


@torch.no_grad()
def test_weights_for_images_of_other_channels(tmp_path):
    """Refused with advice that holds; adapted, images of equal channels have the logits that they had."""
    model, images = hub_folder(tmp_path / 'hub'), torch.randn(1, 1, 16, 16)
    wanted = {**SMALL, 'in_channels': 3}
    with pytest.raises(RuntimeError, match='adapt_channels=True'):
        create_model('locatvit_tiny', str(tmp_path / 'hub'), **wanted)
    found = create_model('locatvit_tiny', str(tmp_path / 'hub'), adapt_channels=True, **wanted)
    torch.testing.assert_close(found(images.repeat(1, 3, 1, 1)), model(images), rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_grid_of_the_weights_stays(tmp_path, caplog):
    """A model built for larger images keeps the grid of pretraining, as the registered model does, and says so."""
    model = hub_folder(tmp_path / 'hub')
    with caplog.at_level('INFO', 'mmlocat'):
        large = create_model('locatvit_tiny', str(tmp_path / 'hub'), **{**SMALL, 'img_size': 32})
    assert large.ref_grid == (4, 4) and large.pos_embed.shape[1] == 1 + 64
    assert '200 of 200 matched' in caplog.text and 'resized: pos_embed from a grid of (4, 4) to (8, 8)' in caplog.text
    images = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(large(images), model(images), rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused(tmp_path):
    hub_folder(tmp_path / 'hub')
    source = str(tmp_path / 'hub')
    with pytest.raises(RuntimeError, match='hub: .*with GAug, this model is a plain one'):
        create_model('vit_tiny', source, **SMALL)
    with pytest.raises(RuntimeError, match='hub: .*in another shape'):
        create_model('locatvit_small', source, **SMALL)
    with pytest.raises(RuntimeError, match='lacks 1 of 201 weights.*reg_token'):
        create_model('locatvit_tiny', source, num_registers=4, **SMALL)
    with pytest.raises(FileNotFoundError, match='gone.pth does not exist'):
        create_model('locatvit_tiny', 'gone.pth')
    with pytest.raises(ValueError, match="no model is named 'locatvit_tni'; did you mean locatvit_tiny"):
        create_model('locatvit_tni')
    with pytest.raises(ValueError, match='num_classes must be a whole number from 0, got -1'):
        create_model('locatvit_tiny', num_classes=-1)
    for options, message in ((dict(embed_dims=0), 'embed_dims must be a whole number from 1, got 0'),
                             (dict(num_layers=0), 'num_layers must be a whole number from 1, got 0'),
                             (dict(num_heads=0), 'num_heads must be a whole number from 1, got 0'),
                             (dict(num_classes=True), 'num_classes must be a whole number from 0, got True')):
        with pytest.raises(ValueError, match=message):
            create_model('locatvit_tiny', **options)
    with pytest.raises(RuntimeError, match=r'lacks .*; check embed_dims, num_layers, num_heads, gaug and patch_size'):
        create_model('locatvit_tiny', source, num_layers=13, **SMALL)
    flat = {**create_model('locatvit_tiny', source, **SMALL).state_dict(), 'pos_embed': torch.zeros(17 * 192)}
    with pytest.raises(RuntimeError, match=r'pos_embed \(3264,\) instead of \(1, 17, 192\); check embed_dims'):
        create_model('locatvit_tiny', num_classes=5, **SMALL).load_state_dict(flat)
    with pytest.raises(ValueError, match='VisionTransformer takes images of shape'):
        create_model('locatvit_tiny', **SMALL)(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize('rope', [None, 'mixed'])
def test_a_training_reaches_every_weight(rope):
    options = dict(rope=rope, with_pos_embed=False, layer_scale_init_value=0.1) if rope else {}
    model = VisionTransformer(16, 3, 2, num_classes=3, num_registers=2, drop_path_rate=0.5, **SMALL, **options)
    images = torch.randn(4, 1, 16, 16)
    assert not torch.equal(model.train().forward_features(images), model.forward_features(images))  # drop path
    model.eval()
    assert torch.equal(model(images), model(images))
    model(images).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())
