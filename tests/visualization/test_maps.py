"""The arrays of a forward pass are what the model computed, not something like it."""

import numpy as np
import pytest
import torch
from mmpretrain.models import build_backbone
from mmpretrain.models.backbones import VisionTransformer

from mmlocat.attention import GaussianAttention, GaussianKernel
from mmlocat.attention.vit.layers import split_heads
from mmlocat.models import LocAtJumbo, LocAtViT
from mmlocat.visualization import collect, prepare_image
from mmlocat.visualization.attention_pages import Subject, draw_block
from mmlocat.visualization.maps import largest_side
from tests.conftest import NANO, runs_here


def locatvit(kind=LocAtViT, **options):
    model = kind(NANO, img_size=24, patch_size=4, **options)
    with torch.no_grad():  # sharp attention, and Gaussians that differ from patch to patch
        for layer in model.layers:
            layer.attn.qkv.weight.mul_(3)
            if layer.attn.gaug is not None:
                layer.attn.gaug.log_var.weight.mul_(20)
                layer.attn.gaug.log_alpha.weight.mul_(20)
    return model


IMAGE = torch.randn(1, 3, 22, 31, generator=torch.Generator().manual_seed(1))  # padded to 6 x 8 patches


ARMS = {'class token': dict(), 'registers': dict(num_registers=2), 'plain': dict(gaug=False),
        'no class token': dict(with_cls_token=False, out_type='featmap')}
SIBLINGS = {'rope': dict(rope='mixed', num_registers=1), 'plain rope': dict(rope='mixed', gaug=False),
            'jumbo': dict(kind=LocAtJumbo, num_cls_tokens=3), 'plain jumbo': dict(kind=LocAtJumbo, gaug=False)}


@pytest.mark.parametrize(('backend', 'options'), [
    pytest.param(backend, options, id=f'{name}-{backend}')
    for arms, backends in ((ARMS, ['dense', 'sdpa', 'streaming', 'triton']), (SIBLINGS, ['dense']))
    for name, options in arms.items() for backend in backends])
def test_rows_times_values_are_the_output_of_the_models_attention(backend, options):
    # In float64, where nothing but a wrong formula differs; the Triton kernels do not take it.
    dtype, tolerance = (torch.float32, 1e-5) if backend == 'triton' else (torch.float64, 1e-9)
    runs_here(backend, torch.ones(1, dtype=dtype))
    model, given, attended = locatvit(attention_backend=backend, **options).to(dtype), [], []
    for layer in model.layers:
        layer.attn.qkv.register_forward_hook(lambda module, args, output: given.append(output))
        layer.attn.proj.register_forward_pre_hook(lambda module, args: attended.append(args[0]))
    found = collect(model, IMAGE.to(dtype))
    assert found.grid == (6, 8) and found.patch_size == (4, 4) and len(found.blocks) == 4
    for block, qkv, output in zip(found.blocks, given, attended):
        assert block.has_gaug == options.get('gaug', True)
        value = split_heads(qkv, 2)[2][0]  # (h, N, d)
        output = output[0].unflatten(-1, (2, -1)).transpose(0, 1)
        weights = block._weights(torch.arange(48), block.has_gaug)
        assert torch.allclose(weights @ value, output[:, block.num_prefix_tokens:], rtol=0, atol=tolerance)
        for number, patch in ((0, (0, 0)), (29, (3, 5)), (47, (5, 7))):
            row = block.attention(patch)
            shown = row.with_gaug if block.has_gaug else row.without_gaug
            assert np.allclose(shown.reshape(2, -1), weights[:, number, block.num_prefix_tokens:], atol=tolerance)
    if found.blocks[0].has_gaug:  # and GAug has something to do with it
        assert np.abs(found.blocks[0].attention((3, 3)).difference).max() > 1e-3


def test_gaussians_are_those_that_the_block_predicted():
    model, predicted = locatvit(), []
    for layer in model.layers:
        layer.attn.gaug.register_forward_hook(
            lambda module, args, output: predicted.append(module.predict(args[0][:, :, 1:], args[3])))
    found = collect(model, IMAGE[0])
    for block, (variance, alpha) in zip(found.blocks, predicted):
        assert np.allclose(block.sigma.reshape(2, -1, 2)**2, variance[0].numpy(), rtol=1e-5)
        assert np.array_equal(block.alpha.reshape(2, -1), alpha[0, ..., 0].numpy())
        for head in range(2):
            assert block.ellipse(head, (1, 5))[:2] == (22, 6) and block.ellipse(head, (4, 0))[:2] == (2, 18)
            assert np.allclose(block.ellipse(head, (1, 5))[2:], 4 * block.sigma[head, 1, 5, ::-1])
    assert np.ptp(found.blocks[0].alpha) > 0.01


def test_mmpretrains_vit_gives_what_the_plain_arm_gives():
    own = locatvit(gaug=False)
    theirs = VisionTransformer(NANO, img_size=24, patch_size=4)
    theirs.load_state_dict(own.state_dict())
    image = torch.randn(1, 3, 24, 24)  # on another grid, position embeddings are resized differently
    for first, second in zip(collect(own, image).blocks, collect(theirs, image).blocks):
        row = second.attention((2, 4))
        assert np.allclose(first.attention((2, 4)).without_gaug, row.without_gaug, atol=1e-6)
        assert second.sigma is second.alpha is row.with_gaug is row.difference is None and not second.has_gaug


def test_looking_leaves_the_model_as_it_was():
    model = locatvit().train()
    before = model.state_dict()
    collect(model, IMAGE)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class SiblingBlock(torch.nn.Module):
    """Names nothing as LocAtViT does; adds a bias, and predicts Gaussians from another query than it attends with."""

    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(16, 64)
        self.mix = GaussianAttention(8, GaussianKernel(6), num_prefix_tokens=0, backend='dense')
        self.bias = torch.nn.Parameter(torch.randn(2, 48, 48))
        with torch.no_grad():
            self.mix.log_var.weight.mul_(20)
            self.mix.log_alpha.weight.mul_(20)

    def forward(self, x, grid):
        query, gate, key, value = self.project(x).unflatten(-1, (4, 2, 8)).permute(2, 0, 3, 1, 4)
        self.value = value[0]
        self.attended = self.mix(query, key, value, grid, gate_query=gate, bias=self.bias, scale=0.7)
        return x + self.attended.transpose(1, 2).flatten(2), grid


class Sibling(torch.nn.Module):
    in_channels, img_size, patch_size, num_prefix_tokens, ref_grid, cls_token = 3, (24, 24), (4, 4), 0, (6, 6), None

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 4, 4)
        self.blocks = torch.nn.ModuleList([SiblingBlock(), SiblingBlock()])

    def fit_checkpoint(self, state_dict, prefix='', metadata=None):
        raise NotImplementedError

    def forward(self, images):
        maps = self.stem(images)
        x, grid = maps.flatten(2).transpose(1, 2), maps.shape[-2:]
        for block in self.blocks:
            x, _ = block(x, grid)
        return x


def test_a_backbone_of_another_class_is_drawn_by_what_it_answers():
    torch.manual_seed(0)
    model = Sibling()
    found = collect(model, torch.randn(3, 24, 32))
    assert found.grid == (6, 8) and found.patch_size == (4, 4) and largest_side(model) == 72
    for block, module in zip(found.blocks, model.blocks):
        assert block.sigma.shape == (2, 6, 8, 2) and block.tokens.shape == (48, 16) and not block.has_class_token
        for number, patch in enumerate((row, column) for row in range(6) for column in range(8)):
            row = block.attention(patch)
            weights = torch.from_numpy(row.with_gaug.reshape(2, 1, -1))
            assert torch.allclose((weights @ module.value)[:, 0], module.attended[0, :, number], atol=1e-5)
    assert np.abs(row.difference).max() > 1e-4
    figure = draw_block(Subject(np.full((24, 32, 3), 90, np.uint8), found, [(2, 3)], 'A sibling'), found.blocks[1])
    assert len(figure.axes) == 2 * 8


def test_windows_of_another_backbone_are_refused():
    model = Sibling()
    model.blocks[0].mix.register_forward_pre_hook(
        lambda module, args, kwargs: (tuple(part.expand(2, -1, -1, -1) for part in args[:3]) + args[3:],
                                      dict(kwargs, gate_query=None)), with_kwargs=True)
    with pytest.raises(TypeError, match='SiblingBlock attends within 2 parts of the image; of windows only'):
        collect(model, torch.randn(3, 24, 32))


def test_what_cannot_be_looked_at_is_said():
    with pytest.raises(TypeError, match='got ResNet; name one of them in the config'):
        collect(build_backbone(dict(type='ResNet', depth=18)), IMAGE)
    with pytest.raises(TypeError, match="a block has neither GaussianAttention nor MMPretrain's .* but Identity"):
        strange = locatvit(gaug=False)
        strange.layers[1].attn = torch.nn.Identity()
        collect(strange, IMAGE)
    with pytest.raises(TypeError, match='got ResNet'):
        largest_side(build_backbone(dict(type='ResNet', depth=18)))
    assert largest_side(locatvit()) == 72
    found = collect(locatvit(), IMAGE)
    with pytest.raises(ValueError, match=r'patch \(6, 0\) \(row, column\) lies outside the grid of 6 rows'):
        found.blocks[0].attention((6, 0))
    with pytest.raises(ValueError, match=r'one image has shape .* got \(2, 3, 8, 8\)'):
        collect(locatvit(), torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r'an image has shape \(height, width, 3\), got \(8, 8\)'):
        prepare_image(locatvit(), np.zeros((8, 8), np.uint8))


def test_mean_distance():
    block = collect(locatvit(), IMAGE).blocks[1]
    places = np.array([(row, column) for row in range(6) for column in range(8)])
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    rows = [block.attention(tuple(place)).with_gaug.reshape(2, -1) for place in places]
    by_hand = np.mean([(row * far[i]).sum(1) / row.sum(1) for i, row in enumerate(rows)], axis=0)
    assert np.allclose(block.mean_distance(True), by_hand, rtol=1e-5)
    assert np.abs(by_hand - block.mean_distance(False)).max() > 0.01
