"""AnnealMasks lets the masks of EoMT go as its authors' configs do."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmlocat.engine import AnnealMasks
from mmlocat.models.eomt import EoMT, EoMTHead


@pytest.mark.parametrize(('steps', 'starts', 'ends'), [
    (39153, (6520, 13040, 19560, 26080), (13040, 19560, 26080, 32600)),  # ADE20K, ViT-Large, four blocks
    (177432, (29564, 73910, 118256), (59128, 103474, 147820))])  # COCO, ViT-Base, three blocks
def test_blocks_go_one_after_the_other_as_published(steps, starts, ends):
    hook, blocks = AnnealMasks(), len(starts)
    tolerance = 1e-3  # their numbers are rounded
    for block, (start, end) in enumerate(zip(starts, ends)):
        shares = [hook.shares(place / steps, blocks)[block] for place in range(0, steps, steps // 200)]
        assert shares == sorted(shares, reverse=True) and shares[0] == 1 and shares[-1] == 0
        assert hook.shares(start / steps - tolerance, blocks)[block] == 1
        assert hook.shares(start / steps + 2 * tolerance, blocks)[block] < 1
        assert hook.shares(end / steps - 2 * tolerance, blocks)[block] > 0
        assert hook.shares(end / steps + tolerance, blocks)[block] == 0
        middle = (start + end) / 2 / steps
        assert hook.shares(middle, blocks)[block] == pytest.approx(0.5**0.9, abs=5e-3)


def test_one_block_and_other_numbers():
    assert AnnealMasks().shares(0.25, 1) == (pytest.approx(0.5**0.9), )
    assert AnnealMasks((0., 1.), 0.5, 1.).shares(0.75, 2) == (0., pytest.approx(0.5))


def runner(model, iteration=0, iterations=90):
    return SimpleNamespace(model=model, iter=iteration, max_iters=iterations)


def test_the_hook_sets_the_shares_of_the_iteration_in_head_and_checkpoint():
    model = nn.Module()
    model.decode_head = EoMTHead(8, 3, num_queries=2, num_blocks=3, num_upscalings=0)
    hook = AnnealMasks()
    hook.before_train(runner(model))
    assert EoMT.needed_hooks == (AnnealMasks.__name__, )  # a training without it is refused
    for iteration in (0, 20, 40, 89, 14):  # the last as of a training that is resumed
        hook.before_train_iter(runner(model, iteration), 0)
        assert model.decode_head.mask_shares == hook.shares(iteration / 90, 3)
        torch.testing.assert_close(model.state_dict()['decode_head.stored_shares'],
                                   torch.tensor(model.decode_head.mask_shares))
    model.decode_head = nn.Linear(1, 1)
    with pytest.raises(ValueError, match='AnnealMasks in custom_hooks is for model.type=EoMT .* got Module; take it'):
        hook.before_train(runner(model))


@pytest.mark.parametrize(('options', 'message'), [
    (dict(span=(0.5, 0.6)), r'span=\(0.5, 0.6\) and duration=0.16'), (dict(span=(-0.1, 0.9)), r'span=\(-0.1'),
    (dict(span=(0.1, 1.1)), r'span=\(0.1, 1.1\)'), (dict(power=0), 'power of AnnealMasks must be positive, got 0'),
    (dict(span=0.5), 'span of AnnealMasks must be two numbers, .* got 0.5'),
    (dict(span=(0., 0.5, 1.)), r'span of AnnealMasks must be two numbers, .* got \(0.0, 0.5, 1.0\)')])
def test_wrong_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        AnnealMasks(**options)
