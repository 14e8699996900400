"""LocAtViT against the published implementation: features, tokens, refined tokens and logits at all sizes."""

import pytest
import torch

from mmlocat.attention import available_backends
from mmlocat.checkpoints import to_mmlocat_names
from mmlocat.models import LocAtViT, PatchRefinement
from tests.conftest import assert_close, device_of, golden_names, load_golden, runs_here


def build(case, backend='auto', **options):
    """Builds the backbone of a golden case with its weights; returns it with the head's."""
    settings = case.kwargs
    weights = {key[len('weights/'):]: value for key, value in case.tensors.items() if key.startswith('weights/')}
    head = {key: weights.pop(key) for key in ('head.weight', 'head.bias')}
    arch = dict(embed_dims=settings['embed_dim'], num_layers=settings['depth'], num_heads=settings['num_heads'],
                feedforward_channels=4 * settings['embed_dim'])
    model = LocAtViT(
        arch, settings['img_size'], settings['patch_size'], gaug=settings.get('gaug', True),
        with_pos_embed=not settings.get('no_pos_emb', False), num_registers=settings.get('reg_tokens', 0),
        no_embed_class=settings.get('no_embed_class', False), attention_backend=backend, **options)
    model.load_state_dict(to_mmlocat_names(weights), strict=True)
    return model.eval().to(device_of(backend)), head


CASES = [name for name in golden_names('locatvit') if 'rope' not in name]


def test_all_cases_are_here():
    assert len(CASES) == 6


@pytest.mark.parametrize('backend', available_backends())
@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_tokens_refined_and_logits(name, backend):
    case = load_golden(name, device_of(backend))
    runs_here(backend, torch.ones(1, device=device_of(backend)))
    model, head = build(case, backend, out_type='raw')
    assert (model.kernel is None) == (case.kwargs.get('gaug', True) is False)
    neck = PatchRefinement(case.kwargs['num_heads'], out_type='raw')
    for i, size in enumerate(case.sizes):
        image = case.tensors[f'input_{i}']
        assert list(image.shape[2:]) == size
        tokens = model(image)[0]
        assert_close(tokens, case.tensors[f'tokens_{i}'], 1e-5)
        refined = neck(tokens)[0] if case.kwargs.get('prr', True) else tokens
        assert_close(refined, case.tensors[f'refined_{i}'], 1e-5)
        logits = torch.nn.functional.linear(refined[:, 0], head['head.weight'], head['head.bias'])
        assert (logits - case.tensors[f'logits_{i}']).abs().max() <= 1e-5


@pytest.mark.parametrize('backend', available_backends())
@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_feature_maps_before_the_final_norm(name, backend):
    case = load_golden(name, device_of(backend))
    runs_here(backend, torch.ones(1, device=device_of(backend)))
    model, _ = build(case, backend, out_type='featmap', out_indices=tuple(case.indices))
    model.final_norm = False
    for i in range(len(case.sizes)):
        features = model(case.tensors[f'input_{i}'])
        assert len(features) == len(case.indices) == 3
        for index, feature in zip(case.indices, features):
            assert_close(feature, case.tensors[f'feat{index}_{i}'], 1e-5)
            assert feature.is_contiguous()


@pytest.mark.parametrize('backend', ['sdpa', 'triton'])
def test_gradients_agree_between_back_ends(backend):
    runs_here(backend, torch.ones(1, device=device_of(backend)))
    gradients = {}
    for own in ('dense', backend):
        case = load_golden('locatvit', device_of(own))
        model, _ = build(case, own, out_type='raw')
        model(case.tensors['input_1'])[0].square().mean().backward()
        gradients[own] = {name: parameter.grad.cpu() for name, parameter in model.named_parameters()}
    for name, expected in gradients['dense'].items():
        assert expected.abs().max() > 0, name
        assert_close(gradients[backend][name], expected, 1e-5)
