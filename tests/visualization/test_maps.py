"""The arrays of a forward pass are what the model computed, not something like it."""

import numpy as np
import pytest
import torch
from mmpretrain.models import build_backbone
from mmpretrain.models.backbones import VisionTransformer

from mmlocat.attention import GaussianAttention, GaussianKernel, refine_patches, refinement_weights
from mmlocat.models import LocAtViT, PatchRefinement
from mmlocat.models.backbones.layers import split_heads
from mmlocat.visualization import blocks, collect, prepare_image
from mmlocat.visualization.attention_pages import Subject, draw_block
from mmlocat.visualization.maps import largest_side
from mmlocat.visualization.measures import attention_distance, class_similarity, effective_rank, patch_similarity
from mmlocat.visualization.style import pyplot
from tests.conftest import NANO, runs_here


def locatvit(**options):
    model = LocAtViT(NANO, img_size=24, patch_size=4, **options)
    with torch.no_grad():  # sharp attention, and Gaussians that differ from patch to patch
        for layer in model.layers:
            layer.attn.qkv.weight.mul_(3)
            if layer.attn.gaug is not None:
                layer.attn.gaug.log_var.weight.mul_(20)
                layer.attn.gaug.log_alpha.weight.mul_(20)
    return model


IMAGE = torch.randn(1, 3, 22, 31, generator=torch.Generator().manual_seed(1))  # padded to 6 x 8 patches


@pytest.mark.parametrize('backend', ['dense', 'sdpa', 'streaming', 'triton'])
@pytest.mark.parametrize('options', [
    dict(), dict(num_registers=2), dict(gaug=False), dict(with_cls_token=False, out_type='featmap')
], ids=['class token', 'registers', 'plain', 'no class token'])
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
    assert found.has_gaug == options.get('gaug', True)
    for block, qkv, output in zip(found.blocks, given, attended):
        value = split_heads(qkv, 2)[2][0]  # (h, N, d)
        output = output[0].unflatten(-1, (2, -1)).transpose(0, 1)
        patches = [(row, column) for row in range(6) for column in range(8)]
        for number, patch in enumerate(patches):
            row = block.attention(patch)
            prefix = row.prefix_without_gaug if row.with_gaug is None else row.prefix_with_gaug
            weights = torch.from_numpy(np.concatenate([prefix, row.computed.reshape(2, -1)], axis=1))
            expected = output[:, block.num_prefix_tokens + number]
            assert torch.allclose((weights[:, None] @ value)[:, 0], expected, rtol=0, atol=tolerance)
        row = block.class_attention()
        assert (row is None) == (block.num_prefix_tokens == 0)
        if block.num_prefix_tokens == 1:  # the rest of its row is the class token's own
            weights = torch.from_numpy(np.concatenate([1 - row.sum((1, 2))[:, None], row.reshape(2, -1)], axis=1))
            assert torch.allclose((weights[:, None] @ value)[:, 0], output[:, 0], rtol=0, atol=tolerance)
    if found.has_gaug:  # and GAug has something to do with it
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
        assert np.allclose(first.attention((2, 4)).computed, second.attention((2, 4)).computed, atol=1e-6)
        assert second.sigma is None and second.alpha is None and not second.has_gaug
    with pytest.raises(ValueError, match='block 4 has plain attention: there are no Gaussians'):
        second.ellipse(0, (0, 0))
    with pytest.raises(ValueError, match='there is no S to add'):
        second.mean_distance(with_gaug=True)


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
        assert block.sigma.shape == (2, 6, 8, 2) and block.tokens.shape == (48, 16) and block.class_attention() is None
        for number, patch in enumerate((row, column) for row in range(6) for column in range(8)):
            row = block.attention(patch)
            weights = torch.from_numpy(row.with_gaug.reshape(2, 1, -1))
            assert torch.allclose((weights @ module.value)[:, 0], module.attended[0, :, number], atol=1e-5)
    assert np.abs(row.difference).max() > 1e-4
    figure = draw_block(Subject(np.full((24, 32, 3), 90, np.uint8), found, [(2, 3)], 'A sibling'), found.blocks[1])
    assert len(figure.axes) == 2 * 8
    pyplot().close(figure)


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
    assert found.patch_at(30.9, 21.9) == (5, 7) and found.patch_at(0, 4) == (1, 0)
    with pytest.raises(ValueError, match='pixel 32,3 lies outside the patches, which cover 32 x 24 px'):
        found.patch_at(32, 3)
    with pytest.raises(ValueError, match=r'patch \(6, 0\) \(row, column\) lies outside the grid of 6 rows'):
        found.blocks[0].attention((6, 0))
    with pytest.raises(ValueError, match=r'one image has shape .* got \(2, 3, 8, 8\)'):
        collect(locatvit(), torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r'an image has shape \(height, width, 3\), got \(8, 8\)'):
        prepare_image(None, np.zeros((8, 8), np.uint8))


def test_refinement_weights_are_those_of_the_refinement():
    tokens = torch.randn(2, 7, 12)
    heads = tokens.unflatten(-1, (3, 4)).transpose(1, 2)
    weights = refinement_weights(tokens, 3)
    assert torch.allclose((weights @ heads).transpose(1, 2).flatten(2), refine_patches(tokens, 3), atol=1e-6)
    assert torch.equal(refinement_weights(tokens, 3, torch.tensor([0, 4])), weights[:, :, [0, 4]])


class Classifier(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = locatvit(out_type='raw', num_registers=1)
        self.neck = PatchRefinement(num_heads=4)

    def extract_feat(self, images):
        return self.neck(self.backbone(images))


def test_the_refined_class_tokens_row():
    model, seen = Classifier(), []
    model.neck.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    found = collect(model, IMAGE)
    expected = refinement_weights(seen[0], 4)[0, :, 0, 2:].reshape(4, 6, 8)
    assert np.allclose(found.refined_class, expected.detach().numpy(), atol=1e-6)
    assert collect(model.backbone, IMAGE).refined_class is None


def test_mean_distance(monkeypatch):
    model = locatvit()
    block = collect(model, IMAGE).blocks[1]
    whole = block.mean_distance(), block.mean_distance(False)
    rows = [block.attention((row, column)).computed for row in range(6) for column in range(8)]
    places = np.array([(row, column) for row in range(6) for column in range(8)])
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    by_hand = np.mean([(row.reshape(2, -1) * far[i]).sum(1) / row.sum((1, 2)) for i, row in enumerate(rows)], axis=0)
    assert np.allclose(whole[0], by_hand, rtol=1e-5) and np.abs(whole[0] - whole[1]).max() > 0.01
    monkeypatch.setattr(blocks, '_CHUNK', 200)  # a pair of queries at once
    assert np.allclose(collect(model, IMAGE).blocks[1].mean_distance(), whole[0], rtol=1e-5)
    assert attention_distance(torch.eye(48), torch.arange(48), (6, 8)).abs().max() < 1e-6


def test_measures_against_their_definitions():
    tokens = torch.randn(2, 9, 16)
    cosine = torch.nn.functional.cosine_similarity
    expected = cosine(tokens[:, 2:], tokens[:, :1], dim=-1).mean(1)
    assert torch.allclose(class_similarity(tokens, 2), expected, atol=1e-6)
    patches = tokens[:, 2:]
    pairs = cosine(patches[:, :, None], patches[:, None], dim=-1)
    other = ~torch.eye(7, dtype=torch.bool)
    assert torch.allclose(patch_similarity(patches), pairs[:, other].mean(1), atol=1e-6)
    # Plus and minus each of three axes: three directions of equal size, wherever the mean lies.
    star = torch.cat([torch.eye(3, 16), -torch.eye(3, 16)])[None] + 7
    assert effective_rank(star).item() == pytest.approx(3, abs=1e-4)
    assert effective_rank(torch.ones(1, 5, 4)).item() == pytest.approx(1, abs=1e-4)
