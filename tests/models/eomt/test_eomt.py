"""EoMT: what its queries see, how its masks go, and that it learns."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmlocat.engine.mask_annealing import AnnealMasks
from mmlocat.models.eomt import EoMTHead, ScoreTTAModel
from mmlocat.visualization.maps import collect

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)
ARMS = dict(plain=dict(gaug=False), locat=dict(), registers=dict(num_registers=2), without=dict(with_cls_token=False),
            rope=dict(rope='mixed', with_pos_embed=False), plain_rope=dict(gaug=False, rope='mixed'))


def settings(head=(), **backbone):
    return dict(
        type='EoMT',
        backbone=dict(dict(type='LocAtViT', arch=ARCH, img_size=24, patch_size=4, out_type='raw'), **backbone),
        decode_head=dict(dict(type='EoMTHead', in_channels=32, num_classes=3, num_queries=6, num_blocks=2,
                              num_upscalings=1, loss=dict(num_points=100)), **dict(head)),
        test_cfg=dict(mode='whole'))


def build(head=(), test_cfg=dict(mode='whole'), **backbone):
    init_default_scope('mmseg')
    model = MODELS.build(ConfigDict(settings(head, **backbone), test_cfg=test_cfg))
    model.eval()
    assert not any(model.decode_head.mask_shares)  # outside of a training there are no masks
    model.decode_head.set_mask_shares([1.] * model.decode_head.num_blocks)
    return model


def samples(labels):
    found = []
    for one in labels:
        size = tuple(one.shape)
        found.append(SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size)))
        found[-1].set_data(dict(gt_sem_seg=PixelData(data=one[None])))
    return found


@pytest.mark.parametrize('arm', ARMS)
def test_a_masked_query_sees_its_mask_alone_and_has_no_gaussian(arm):
    model = build(**ARMS[arm])
    backbone, head, grid = model.backbone, model.decode_head, (3, 4)
    prefix, block = backbone.num_prefix_tokens, backbone.blocks[-1]
    tokens = torch.randn(2, prefix + 6 + 12, 32)
    masks = torch.full((2, 6, 6, 8), -1.)
    masks[:, 0, :, :2] = masks[:, 1] = 1.  # the first query sees the first column, the second all, the others nothing
    bias = head.attention_bias(masks, 0, grid, prefix)
    shared = backbone._shared(2, grid)

    def run(tokens, bias):
        with torch.no_grad():
            return block(tokens, grid, *shared, num_queries=6, bias=bias)

    moved = tokens.clone()
    moved[:, prefix + 6 + 1::4] += 1.  # the second column of patches
    change = (run(moved, bias) - run(tokens, bias)).abs().amax(dim=(0, 2))
    free = (run(moved, None) - run(tokens, None)).abs().amax(dim=(0, 2))
    assert not change[prefix] and change[prefix + 1] and not change[prefix + 2:prefix + 6].any()
    assert change[:prefix].all() and change[prefix + 6:].all() and free.all()

    if block.attn.gaug is not None:
        before = run(tokens, bias)
        block.attn.gaug.log_alpha.bias.data += 3.
        change = (run(tokens, bias) - before).abs().amax(dim=(0, 2))
        assert not change[:prefix + 6].any() and change[prefix + 6:].all()


def test_a_drawn_share_of_queries_is_masked_in_training_and_none_is_drawn_in_a_test():
    head = build(dict(num_queries=400)).decode_head
    head.set_mask_shares((0.25, 0.75))
    nothing = torch.full((3, 400, 4, 4), -1.)
    assert [head.uses_mask(place) for place in (0, 1)] == [False, True]
    assert head.attention_bias(nothing, 1, (2, 2), 1)[:, 0, 1:401, 401:].isinf().all()
    head.train()
    assert head.uses_mask(0)
    blocked = head.attention_bias(nothing, 0, (2, 2), 1)[:, 0].isinf()
    assert not blocked[:, :, :401].any() and not blocked[:, 0].any() and not blocked[:, 401:].any()
    queries = blocked[:, 1:401, 401:]
    assert torch.equal(queries.any(dim=2), queries.all(dim=2)) and 0.2 < queries.float().mean() < 0.3


def test_a_trained_model_predicts_once_and_needs_no_masks():
    model, images = build(), torch.randn(1, 3, 22, 30)
    with torch.no_grad():
        masked = model.extract_feat(images)
        state = model.state_dict()
        model.decode_head.set_mask_shares((0., 0.))
        free = model.extract_feat(images)
        assert len(masked) == 3 and len(free) == 1
        assert masked[-1].mask_logits.shape == (1, 6, 12, 16) and masked[-1].class_logits.shape == (1, 6, 4)
        assert not torch.allclose(masked[-1].mask_logits, free[0].mask_logits)
        model.train()
        drawn = model.extract_feat(images)
        assert len(drawn) == 3
        torch.testing.assert_close(drawn[-1].mask_logits, free[0].mask_logits)
        other = build()
        other.load_state_dict(model.state_dict())
        assert other.decode_head.mask_shares == (0., 0.)  # a checkpoint knows how far its masks have gone
        other.load_state_dict(dict(state, **{'decode_head.stored_shares': torch.tensor([0.5, 1.])}))
        assert other.decode_head.mask_shares == (0.5, 1.)


def test_recomputing_blocks_changes_nothing():
    model, images, labels = build(), torch.randn(2, 3, 24, 24), torch.randint(0, 3, (2, 24, 24))
    model.train()
    model.decode_head.set_mask_shares((0.5, 0.5))
    gradients = []
    for with_cp in (False, True):
        again = copy.deepcopy(model)
        again.backbone.with_cp = with_cp
        torch.manual_seed(0)
        sum(again.loss(images, samples(labels)).values()).backward()
        assert all(parameter.grad is not None for parameter in again.parameters())
        gradients.append(again.backbone.patch_embed.projection.weight.grad)
    torch.testing.assert_close(*gradients)


def test_windows_cover_an_image():
    images = torch.randn(1, 3, 24, 40)
    model = build(test_cfg=dict(mode='slide', crop_size=(24, 24), stride=(24, 24)))
    with torch.no_grad():
        found = model.predict(images)[0].seg_logits.data
        whole = model.encode_decode(images[..., :24], [dict(img_shape=torch.Size((24, 24)))])[0]
        exported = model(images[..., :24])[0]
    assert found.shape == (3, 24, 40)
    torch.testing.assert_close(found[..., :16], whole[..., :16])  # where no other window lies
    torch.testing.assert_close(exported, whole)
    assert 0 <= found.min() and not torch.allclose(found[..., 24:], whole[..., 8:])


def test_views_are_averaged_as_they_are():
    """Scores are no logits: a softmax of them would let two doubtful views outvote one that is sure."""
    model = ScoreTTAModel(module=build())
    views = samples([torch.zeros(1, 2, dtype=torch.long)] * 3)
    scores = torch.tensor([[3., 0.], [0., 1.4], [0., 1.4]])
    for view, score in zip(views, scores):
        view.set_data(dict(seg_logits=PixelData(data=score[:, None, None].expand(2, 1, 2))))
    merged, = model.merge_preds([views])
    torch.testing.assert_close(merged.seg_logits.data[:, 0, 0], scores.mean(dim=0))
    assert merged.pred_sem_seg.data.tolist() == [[[0, 0]]] and merged.gt_sem_seg.data.shape == (1, 1, 2)


def test_norms_between_upscalings_are_as_published():
    assert {module.eps for module in build().decode_head.upscale.modules() if hasattr(module, 'eps')} == {1e-6}


def test_attention_maps_are_those_of_the_image():
    model = build(num_registers=1)
    for arm in (model, build(gaug=False, rope='mixed')):
        arm.decode_head.set_mask_shares((0., 0.))
        maps = collect(arm, torch.randn(3, 16, 24))
        assert [block.num_prefix_tokens - arm.backbone.num_prefix_tokens for block in maps.blocks] == [0, 6, 6]
        for block in maps.blocks:
            weights = (block.query[:, -1:] @ block.key.transpose(1, 2) * 16**-0.5).softmax(dim=-1)  # the last patch's
            found = torch.from_numpy(block.attention((3, 5)).without_gaug)
            torch.testing.assert_close(found, weights[:, 0, -24:].unflatten(1, (4, 6)))


WRONG = {
    'head': (dict(decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=3)), TypeError,
             "decode_head of EoMT must be an EoMTHead, got FCNHead; .*'EncoderDecoder'"),
    'backbone': (dict(backbone=dict(type='LocAtJumbo', arch=ARCH, img_size=24, patch_size=4)), TypeError,
                 'backbone of EoMT must be a LocAtViT .* got LocAtJumbo'),
    'maps': (settings(out_type='featmap'), ValueError, "set out_type='raw', .*got out_type='featmap'"),
    'norm': (settings(final_norm=False), ValueError, 'final_norm=True in backbone.* final_norm=False'),
    'outputs': (settings(out_indices=(0, 2)), ValueError, r'out_indices=-1 .*out_indices=\[0, 2\]'),
    'blocks': (settings(dict(num_blocks=4)), ValueError, 'num_blocks=4 of .* but the backbone has 3 blocks'),
    'channels': (settings(dict(in_channels=64)), ValueError, '64 of the decode_head, but .* set in_channels=32'),
    'queries': (settings(dict(num_queries=0)), ValueError, 'num_queries of EoMTHead must be .* from 1, got 0'),
    'neck': (dict(neck=dict(type='FPN')), ValueError, "EoMT takes no neck, got .*set neck=None"),
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_settings(case):
    change, error, message = WRONG[case]
    init_default_scope('mmseg')
    with pytest.raises(error, match=message):
        MODELS.build({**settings(), **change})


def test_the_head_is_built_in_any_scope():
    """A Runner of MMPretrain leaves its scope behind, in which mmseg's losses are not found by name."""
    init_default_scope('mmpretrain')
    try:
        EoMTHead(8, 3, num_queries=2, num_blocks=1, num_upscalings=0)
    finally:
        init_default_scope('mmseg')


def scenes(number, generator):
    """Returns images of a bright square and a dark one on grey, 24 px, and their labels."""
    images, labels = torch.zeros(number, 3, 24, 24), torch.zeros(number, 24, 24, dtype=torch.long)
    for image, label in zip(images, labels):
        for kind in (1, 2):
            side = int(torch.randint(6, 12, (), generator=generator))
            row, column = (int(torch.randint(0, 24 - side, (), generator=generator)) for _ in range(2))
            image[:, row:row + side, column:column + side] = 3. - 2. * kind
            label[row:row + side, column:column + side] = kind
    return images + 0.2 * torch.randn(images.shape, generator=generator), labels


def mean_iou(predicted, labels):
    return sum((((predicted == k) & (labels == k)).sum() / ((predicted == k) | (labels == k)).sum()).item()
               for k in range(3)) / 3


def learn(steps, **backbone):
    """Trains a miniature with the masks that the hook leaves; returns losses, mIoU and that of the best constant."""
    generator = torch.Generator().manual_seed(0)
    model, hook, losses = build(**backbone), AnnealMasks(), []
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = 3e-3 * min(1., (step + 1) / 10) * (1 - step / steps)
        model.decode_head.set_mask_shares(hook.shares(step / steps, 2))
        images, labels = scenes(8, generator)
        loss = sum(model.loss(images, samples(labels)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    images, labels = scenes(40, generator)
    with torch.no_grad():
        predicted = torch.stack([one.pred_sem_seg.data[0] for one in model.predict(images, samples(labels))])
    constant = max(mean_iou(torch.full_like(labels, k), labels) for k in range(3))
    return losses, mean_iou(predicted, labels), constant


def test_it_learns():
    losses, found, constant = learn(60)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert found > constant + 0.1


@pytest.mark.soak
@pytest.mark.parametrize('gaug', [False, True])
def test_it_segments(gaug):
    losses, found, constant = learn(400, gaug=gaug)
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])
    assert found > 0.8 > constant + 0.3
