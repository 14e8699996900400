"""The model on PyTorch alone and the registered one: one set of weights, one set of numbers."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mmlocat.attention import create_model
from mmlocat.attention.vit import VisionTransformer
from mmlocat.checkpoints.names import to_classifier_names
from mmlocat.models import LocAtViT

ROPE = dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5)


@pytest.mark.parametrize(('name', 'parameters', 'options'), [
    ('locatvit_tiny', 5_719_756, {}), ('locatvit_small', 22_053_004, {}), ('locatvit_base', 86_569_996, {}),
    ('locatvit_tiny', 5_688_844, ROPE), ('locatvit_base', 86_446_348, ROPE), ('vit_tiny', 5_686_504, ROPE),
    ('locatvit_tiny', None, dict(num_registers=4)),
    ('locatvit_tiny', None, dict(num_registers=4, no_embed_class=True, ref_grid=(7, 9))),
    ('vit_small', None, dict(with_pos_embed=False)),
])
def test_names_shapes_and_sizes(name, parameters, options):
    """The numbers are the paper's."""
    kind, size = name.split('_')
    with torch.device('meta'):
        alone = create_model(name, num_classes=1000, **options)
        registered = LocAtViT(size, gaug=kind == 'locatvit', **options)
    head = dict(to_classifier_names(alone.state_dict()))
    shapes = {key[len('backbone.'):]: value.shape for key, value in head.items() if key.startswith('backbone.')}
    assert shapes == {key: value.shape for key, value in registered.state_dict().items()}
    assert alone.ref_grid == registered.ref_grid
    if parameters:
        assert sum(value.numel() for value in alone.parameters()) == parameters


@pytest.mark.parametrize('options', [
    {}, dict(num_registers=2), dict(with_pos_embed=False), dict(num_registers=2, no_embed_class=True),
    dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=0.1), dict(gaug=False)],
    ids=['plain', 'registers', 'no position', 'registers without position', 'rope', 'no GAug'])
@torch.no_grad()
def test_one_set_of_weights_gives_one_set_of_numbers(options):
    """Into a classifier of MMPretrain, strictly, and back; on another size than that of pretraining."""
    alone = VisionTransformer(32, 2, 2, num_classes=5, img_size=16, patch_size=4, **options).eval()
    for parameter in alone.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
    classifier = MODELS.build(dict(
        type='ImageClassifier',
        backbone=dict(type='LocAtViT', arch=arch, img_size=16, patch_size=4, out_type='raw', **options),
        neck=dict(type='PatchRefinement', num_heads=2),
        head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=32)))
    classifier.eval()
    classifier.load_state_dict(to_classifier_names(alone.state_dict()), strict=True)
    images = torch.randn(2, 3, 22, 26)
    torch.testing.assert_close(alone(images), classifier(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(alone.forward_features(images), classifier.backbone(images)[0], rtol=0, atol=1e-5)
    classifier.backbone.out_type, classifier.backbone.final_norm = 'featmap', False
    for ours, theirs in zip(alone.feature_maps(images), classifier.backbone(images)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    back = VisionTransformer(32, 2, 2, num_classes=5, img_size=16, patch_size=4, **options)
    back.load_state_dict(classifier.state_dict(), strict=True)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in alone.state_dict().items())
