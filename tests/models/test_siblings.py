"""What every backbone of the family does: half precision, recomputing, weights in and out, retrofit, clear errors."""

import pytest
import torch

from mmlocat.attention import GaussianAttention
from tests.conftest import assert_close
from tests.helpers.siblings import FAMILY, SIBLINGS, sibling

SIZE = (26, 36)  # not the size of pretraining, and no whole patches


@pytest.fixture(params=FAMILY)
def name(request):
    return request.param


def lively(model):
    """Makes attention depend on the queries, as that of trained models does."""
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if 'qkv.weight' in part:
                parameter.mul_(2.5)
    return model


def gradients(model, images):
    """Returns the last output, and the gradients of its product with random numbers."""
    model.zero_grad()
    out = model(images)[-1]
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    (out.float() * weights).mean().backward()
    return out.detach(), {part: parameter.grad.clone() for part, parameter in model.named_parameters()}


def test_autocast_follows_float32(name):
    model, images = lively(sibling(name, out_type='raw')).train(), torch.randn(2, 3, *SIZE)
    expected, exact = gradients(model, images)
    with torch.autocast('cpu', torch.bfloat16):
        out, found = gradients(model, images)
    assert 0 < (out.float() - expected).abs().max() < 0.05 * expected.abs().max()
    for kind in ('gaug', ''):  # of GAug alone, and of everything
        both = [torch.cat([grad.flatten() for part, grad in grads.items() if kind in part]) for grads in (exact, found)]
        assert torch.cosine_similarity(*both, dim=0) > 0.99
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model(images)[-1].isfinite().all()


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_recomputed_blocks_give_the_same_gradients(name, precision):
    images, runs, found = torch.randn(4, 3, *SIZE), [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = sibling(name, with_cp=with_cp, out_type='raw', drop_path_rate=0.3).train()
        model.blocks[2].register_forward_pre_hook(lambda *_, with_cp=with_cp: runs.append(with_cp))
        torch.manual_seed(1)
        with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bfloat16'):
            found.append(gradients(model, images)[1])
    assert runs == [False, True, True]
    for part, expected in found[0].items():
        assert expected.abs().max() > 0, part
        assert_close(found[1][part], expected, 1e-6)


@pytest.mark.parametrize('gaug', [True, False])
def test_a_file_of_a_training_gives_its_weights_back(name, gaug, tmp_path):
    source = sibling(name, gaug=gaug)
    state = {f'module.backbone.{part}': value for part, value in source.state_dict().items()}
    torch.save(dict(state_dict={**state, 'module.head.weight': torch.ones(3)}), tmp_path / 'x.pth')
    target = sibling(name, gaug=gaug, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth')))
    assert any(not torch.equal(value, target.state_dict()[part]) for part, value in source.state_dict().items())
    target.init_weights()
    assert target.state_dict().keys() == source.state_dict().keys()
    assert all(torch.equal(value, target.state_dict()[part]) for part, value in source.state_dict().items())
    other = sibling(name, gaug=not gaug)
    with pytest.raises(RuntimeError, match='this model is a plain one; set gaug=True' if gaug else
                       f"lacks 1[68] of .* weights of {type(source).__name__}: .*gaug_init='identity'"):
        other.load_state_dict(source.state_dict(), strict=False)


def test_a_plain_model_becomes_locat_without_changing(name):
    """Within 1e-4 at first, and then GAug learns: every weight of it has a gradient."""
    options = dict(out_type='raw', final_norm=False)
    plain = lively(sibling(name, gaug=False, **options)).eval()
    images, models = torch.randn(2, 3, *SIZE), {}
    for start in ('identity', 'paper'):
        models[start] = sibling(name, gaug_init=start, **options).eval()
        models[start].load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        expected = plain(images)[0]
        apart = {start: (model(images)[0] - expected).abs().max() for start, model in models.items()}
    assert apart['identity'] < 1e-4 and apart['paper'] > 1e-3
    _, found = gradients(models['identity'], images)
    assert all(grad.abs().max() > 0 for part, grad in found.items() if 'log_' in part and 'weight' in part)


@pytest.mark.parametrize(('images', 'error', 'message'), [
    (torch.ones(1, 4, 24, 24), ValueError, r'takes images of shape \(B, 3, height, width\), got \(1, 4, 24, 24\)'),
    (torch.ones(3, 24, 24), ValueError, r'takes images of shape \(B, 3, .* in_channels=3 sets the channels'),
    (torch.ones(1, 3, 24, 24, dtype=torch.uint8), TypeError, 'takes floating-point images, got torch.uint8; normalise'),
])
def test_wrong_images_are_named_with_the_class_that_got_them(name, images, error, message):
    with pytest.raises(error, match=f"{FAMILY[name]['type']} {message}"):
        sibling(name)(images)


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (dict(drop_path=0.1), TypeError, "unexpected keyword argument 'drop_path'"),
    (dict(drop_path_rate=1.5), ValueError, r'drop_path_rate must lie in \[0, 1\), got 1.5'),
    (dict(img_size='24'), ValueError, "img_size must be a positive whole number .*got '24'"),
    (dict(patch_size=0), ValueError, 'patch_size must be a positive whole number .*got 0'),
    (dict(frozen_stages=9), ValueError, 'frozen_stages=9, but there are . (blocks|stages) to freeze; use .'),
    (dict(out_indices=7), AssertionError, 'Invalid out_indices 7'),
    (dict(out_indices=(1, 0)), ValueError, r'out_indices=\(1, 0\) must rise'),
    (dict(gaug_init='zero'), ValueError, "gaug_init must be 'paper', 'identity' or None, got 'zero'"),
    (dict(attention_backend='flash'), ValueError, "unknown attention back-end 'flash'; choose one of auto, "),
    (dict(attention_backend='flash', gaug=False), ValueError, "unknown attention back-end 'flash'"),
])
def test_wrong_arguments_are_named(name, options, error, message):
    with pytest.raises(error, match=message):
        sibling(name, **options)


@pytest.mark.parametrize('name', SIBLINGS)
def test_every_parameter_reaches_the_loss_of_a_segmentor(name):
    """As DistributedDataParallel asks; the gradient may be 0, as that of Jumbo's last class tokens is."""
    model = sibling(name, out_type='featmap', final_norm=False)
    model(torch.randn(1, 3, 24, 24))[-1].square().mean().backward()
    assert [part for part, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize('name', SIBLINGS)
def test_what_all_blocks_share_is_as_deep_as_the_head(name):
    model = sibling(name)
    shared = {part for part, _ in model.named_parameters() if part.startswith(('rope.', 'jumbo_mlp.'))}
    assert bool(shared) == (name != 'LocAtSwin')
    assert {model.get_layer_depth(part) for part in shared} <= {(5, 6)} == {model.get_layer_depth('x', 'backbone.')}
    inside = [part for part, module in model.named_modules() if isinstance(module, GaussianAttention)]
    assert [model.get_layer_depth(f'{part}.log_var.weight')[0] for part in inside] == [1, 2, 3, 4]
