"""LocAtSwin's windows: what is drawn of a query lies on the pixels that it attends to, rolled, padded or masked."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from mmlocat.models import LocAtSwin
from mmlocat.visualization import collect
from mmlocat.visualization.attention_pages import Subject, _draw_summary, draw_block
from tests.helpers.legible import assert_legible

ARCH = dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2))


def swin(**options):
    """Windows of 4; the stages of a 40 px model have 10 and 5 patches a side, so every second block shifts."""
    torch.manual_seed(0)
    model = LocAtSwin(ARCH, 40, 4, window_size=4, **options).double().eval()
    with torch.no_grad():  # sharp attention, and Gaussians that differ from patch to patch
        for block in model.blocks:
            block.attn.qkv.weight.mul_(20)
            block.attn.relative_position_bias_table.mul_(20)
            if block.attn.gaug is not None:
                block.attn.gaug.log_var.weight.mul_(20)
                block.attn.gaug.log_alpha.weight.mul_(20)
            torch.nn.init.eye_(block.attn.proj.weight)  # what a block attends to is then its output
    return model


def images(height, width):
    return torch.randn(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Grids of 10 x 10, 7 x 13 and 9 x 11 patches, of which windows of 4 x 4 cover 12 x 12, 8 x 16 and 12 x 12.
@pytest.mark.parametrize('size', [(40, 40), (28, 52), (35, 42)])
@pytest.mark.parametrize('gaug', [True, False])
def test_weights_times_values_are_the_output_at_the_same_pixel(size, gaug):
    model, given, attended = swin(gaug=gaug), [], []
    for block in model.blocks:
        block.norm1.register_forward_hook(lambda module, args, output: given.append(output[0]))
        block.drop_path.register_forward_pre_hook(lambda module, args: attended.append(args[0][0]))
    found = collect(model, images(*size))
    shifted = [block.shift for block in model.blocks]
    assert shifted == [(0, 0), (2, 2)] * 2
    for block, layer, tokens, output in zip(found.blocks, model.blocks, given, attended[::2]):
        heads, grid = block.num_heads, block.grid
        assert tokens.shape[:2] == grid and block.has_gaug == gaug
        # Values from the tokens where they lie on the image: nothing of rolling, padding or windows is in them.
        weight = layer.attn.qkv.weight[2 * tokens.shape[-1]:]
        values = (tokens @ weight.T).unflatten(-1, (heads, -1))  # (H, W, h, d); biases are 0, so padded tokens give 0
        for row, column in np.ndindex(*grid):
            seen = torch.from_numpy(block.attention((row, column))[-1 if gaug else 0])  # (h, H, W)
            expected = torch.einsum('hij,ijhd->hd', seen, values).flatten()
            assert torch.allclose(expected, output[row, column], rtol=0, atol=1e-9), (block.index, row, column)
            # The mask leaves e^-100 of what it hides; whatever is seen has more.
            assert np.array_equal((seen[0] > 1e-20).numpy(), block.reach == block.reach[row, column])
        if gaug:
            assert np.abs(block.attention((3, 2)).difference).max() > 1e-3


def test_gaussians_lie_on_the_patches_that_predicted_them():
    model, given = swin(), []
    for block in model.blocks:
        block.norm1.register_forward_hook(lambda module, args, output: given.append(output[0]))
    found = collect(model, images(28, 52))
    for block, layer, tokens in zip(found.blocks, model.blocks, given):
        channels = tokens.shape[-1]
        query = (tokens @ layer.attn.qkv.weight[:channels].T).unflatten(-1, (block.num_heads, -1)).permute(2, 0, 1, 3)
        variance, alpha = layer.attn.gaug.predict(query.flatten(1, 2)[None], layer.window)
        assert np.allclose(block.sigma.reshape(block.num_heads, -1, 2)**2, variance[0].detach())
        assert np.allclose(block.alpha.reshape(block.num_heads, -1), alpha[0, ..., 0].detach())
        assert np.ptp(block.alpha) > 0.01
    # In the second stage a patch has twice the side, and its ellipse the centre of that.
    last = found.blocks[3]
    assert last.grid == (4, 7) and last.patch_size == (8, 8) and last.tokens.shape == (28, 16)
    assert last.ellipse(1, (1, 2))[:2] == (20, 12) and found.patch_of(last, (3, 5)) == (1, 2)
    assert np.allclose(last.ellipse(1, (1, 2))[2:], 8 * last.sigma[1, 1, 2, ::-1])


def test_mean_distance_is_over_patches_and_leaves_padding_out():
    for block in collect(swin(), images(35, 42)).blocks:
        places = np.array(list(np.ndindex(*block.grid)))
        far = np.linalg.norm(places[:, None] - places[None], axis=-1)
        rows = [block.attention(tuple(place)).with_gaug.reshape(block.num_heads, -1) for place in places]
        by_hand = np.mean([(row * far[i]).sum(1) / row.sum(1) for i, row in enumerate(rows)], axis=0)
        assert np.allclose(block.mean_distance(True), by_hand)
    assert min(row.sum(1).min() for row in rows) < 0.9 and np.abs(by_hand - block.mean_distance(False)).max() > 1e-3


def lines_of(axes):
    return {tuple(map(tuple, line)) for kind in axes.collections if isinstance(kind, LineCollection)
            for line in kind.get_segments()}


def test_pages_outline_the_windows_where_they_lie():
    found = collect(swin().float(), images(40, 40).float())
    looked = Subject(np.full((40, 40, 3), 90, np.uint8), found, [(0, 1), (9, 9)], 'A Swin   |   a.png, 40 x 40 px')
    page = draw_block(looked, found.blocks[1])
    panels = [axes for axes in page.axes if axes.get_label() != '<colorbar>']
    assert len(panels) == 3 * 4
    everything, first, second = (lines_of(axes) for axes in (panels[1], panels[5], panels[9]))
    assert lines_of(panels[4]) == first  # over the picture as over the maps
    # Windows shifted by two begin at row 2; the rows before it, and those after the last whole one, see none across.
    assert {y for (x, y), (_, end) in everything if y == end} == {0, 8, 24, 40}
    # Patch (0, 1) sees a corner of 2 x 2 patches of 4 px: 8 lines of one patch's side around it.
    assert first == ({((x, y), (x + 4, y)) for x in (0, 4) for y in (0, 8)}
                     | {((x, y), (x, y + 4)) for x in (0, 8) for y in (0, 4)})
    assert {x for line in second for x, _ in line} == {24, 28, 32, 36, 40}
    assert "the block's own patches" in assert_legible(_draw_summary(looked))  # blocks differ in their heads


def test_a_patch_of_a_later_stage_that_holds_two_queries_is_drawn_once():
    found = collect(swin(gaug=False).float(), images(40, 40).float())
    looked = Subject(np.full((40, 40, 3), 90, np.uint8), found, [(2, 2), (3, 3)], 'A Swin   |   a.png, 40 x 40 px')
    first, later = (draw_block(looked, found.blocks[index]) for index in (0, 2))
    assert len(first.subfigs) == 2 and len(later.subfigs) == 1
    words = ' '.join(assert_legible(later))
    assert 'plain attention in windows' in words and 'query: row 2, column 2 of 5 x 5 patches' in words
