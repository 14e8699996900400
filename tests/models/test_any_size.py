"""Any size, any mask: from one patch to 2048 px, strips, batch 1, labels of nothing, in every mode of real models."""

import math

import mmseg
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import METRICS, MODELS, init_default_scope
from mmengine.structures import PixelData
from mmengine.utils import digit_version
from mmseg.structures import SegDataSample
from torch.nn.functional import interpolate, pad

from mmlocat.config import load_config
from mmlocat.models import LocAtViT
from tests.conftest import NANO, ROOT

PATCH = 4
# Height, width: less than a patch, one patch, beside whole patches, strips of 1:20 both ways, larger.
SIZES = [(1, 1), (3, 2), (4, 4), (5, 4), (36, 36), (37, 53), (23, 61), (8, 160), (160, 8), (4, 80), (81, 4), (96, 128)]
IGNORED, CLASSES = 255, 11


def names(size):
    return f'{size[0]}x{size[1]}'


@pytest.fixture(scope='module')
def backbones():
    """The same weights with the back-end of everyday and with the equation written out."""
    torch.manual_seed(1)
    models = [LocAtViT(NANO, 24, PATCH, out_type='featmap', attention_backend=backend).eval()
              for backend in ('auto', 'dense')]
    for parameter in models[0].parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    models[1].load_state_dict(models[0].state_dict())
    return models


@pytest.mark.parametrize('size', SIZES, ids=names)
@torch.no_grad()
def test_backbone_pads_to_whole_patches_and_computes_the_equation(size, backbones, figure):
    images = torch.randn(1, 3, *size)
    features, = backbones[0](images)
    grid = tuple(math.ceil(side / PATCH) for side in size)
    assert features.shape == (1, 64, *grid) and features.isfinite().all() and features.std() > 0.01
    # Zeros at the right and the bottom, after normalisation: what mmpretrain's patch embedding pads with.
    padded = pad(images, (0, grid[1] * PATCH - size[1], 0, grid[0] * PATCH - size[0]))
    assert torch.equal(backbones[0](padded)[0], features)
    difference = (backbones[1](images)[0] - features).abs().max().item() / max(1., features.abs().max().item())
    assert difference < 1e-5
    figure('Any input', 'image sizes tried, from 1 x 1 px (one patch) to 96 x 128, 1:20 strips included', len(SIZES))


@torch.no_grad()
def test_2048_px(figure):
    """One block of one head over 128 x 128 patches: rows of queries against the equation, written out here."""
    arch = dict(embed_dims=16, num_layers=1, num_heads=1, feedforward_channels=16)
    model = LocAtViT(arch, 224, 16, out_type='raw', final_norm=False).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    seen = {}
    attention = model.layers[0].attn
    attention.register_forward_hook(lambda module, args, output: seen.update(tokens=args[0], out=output))
    features, = model(torch.randn(1, 3, 2048, 2048))
    assert features.shape == (1, 1 + 128 * 128, 16) and features.isfinite().all()

    query, key, value = attention.qkv(seen['tokens'])[0].double().chunk(3, dim=1)  # each (N, 16)
    logits = attention.gaug.log_var(query[1:].float()).double()
    s, lowest = 14.**2, 14
    variance = s * torch.sigmoid(logits - math.log(s - 1)) * (128 / lowest)
    alpha = torch.nn.functional.softplus(attention.gaug.log_alpha(query[1:].float()).double())
    place = torch.stack(torch.meshgrid(torch.arange(128.), torch.arange(128.), indexing='ij'), -1).reshape(-1, 2)
    largest = effect = 0.
    for p in (0, 127, 128 * 64 + 64, 128 * 128 - 1, 5000):
        squared = (place[p] - place).square().clamp(max=13.**2).double()
        bump = alpha[p] * torch.exp(-0.5 * (squared / (variance[p] + 0.1)).sum(1))
        scores = query[1 + p] @ key.T / 4 + torch.cat([torch.zeros(1, dtype=torch.double), bump])
        expected = attention.proj((scores.softmax(0) @ value).float())
        largest = max(largest, (expected - seen['out'][0, 1 + p]).abs().max().item())
        plain = attention.proj(((query[1 + p] @ key.T / 4).softmax(0) @ value).float())
        effect = max(effect, (expected - plain).abs().max().item())
    assert largest < 1e-4 and largest < effect / 100  # what the Gaussian changes is no rounding
    figure('Any input', 'largest image: attention at 2048 x 2048 px, 16,385 tokens, against the equation', largest)


def build(name, **changes):
    config = load_config(str(ROOT / 'configs' / f'{name}_digitscenes.py'))
    config.merge_from_dict(changes)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(config.model)


def sample(size, label=None, original=None):
    """Returns an image and its label, as the pipeline hands them over."""
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    data = SegDataSample(metainfo=dict(ori_shape=original or size, img_shape=size))
    if label is None:
        label = torch.randint(0, CLASSES, (1, *size))
    data.gt_sem_seg = PixelData(data=label)
    return dict(inputs=image, data_samples=data)


def loss_of(model, samples):
    model.train()
    batch = model.data_preprocessor(pseudo_collate(samples), True)
    losses = model.loss(**batch)
    total, _ = model.parse_losses(losses)
    model.zero_grad()
    total.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert total.isfinite() and all(grad is not None and grad.isfinite().all() for grad in gradients.values())
    return total.item(), losses, gradients


@pytest.mark.soak
def test_2048_px_in_every_mode():
    """Training, whole and slide, of one block with patches of 16 px."""
    size = (2048, 2048)
    model = build('locatvit-nano_linear', **{
        'model.backbone.frozen_stages': -1, 'model.backbone.patch_size': 16, 'model.backbone.img_size': 224,
        'model.backbone.arch.num_layers': 1})
    total, _, gradients = loss_of(model, [sample(size)])
    assert total > 0 and gradients['backbone.layers.0.attn.gaug.log_alpha.weight'].abs().max() > 0
    model.eval()
    for mode in ('whole', 'slide'):
        model.test_cfg.update(mode=mode, crop_size=(512, 512), stride=(384, 384))
        with torch.no_grad():
            result, = model.test_step(pseudo_collate([sample(size)]))
        assert result.seg_logits.data.shape == (CLASSES, *size) and result.seg_logits.data.isfinite().all()
        assert result.seg_logits.data.std() > 0


@pytest.fixture(scope='module')
def linear():
    return build('locatvit-nano_linear', **{'model.backbone.frozen_stages': -1})


@pytest.mark.parametrize('size', SIZES, ids=names)
def test_training_on_one_image_of_any_size(size, linear):
    total, _, gradients = loss_of(linear, [sample(size)])
    # The preprocessor pads what is smaller than its 36 px, labels with what is ignored.
    assert total > 0 and gradients['backbone.patch_embed.projection.weight'].abs().max() > 0
    assert gradients['backbone.layers.0.attn.gaug.log_alpha.weight'].abs().max() > 0


@pytest.mark.parametrize('size', [(36, 36), (37, 53), (8, 160)], ids=names)
def test_training_upernet_on_two_images(size):
    model = build('locatvit-nano_upernet', **{'model.decode_head.norm_cfg.type': 'BN',
                                              'model.auxiliary_head.norm_cfg.type': 'BN'})
    assert loss_of(model, [sample(size), sample(size)])[0] > 0


def test_images_of_several_sizes_in_one_batch(linear):
    _, losses, _ = loss_of(linear, [sample((20, 36)), sample((36, 7)), sample((36, 36))])
    assert losses['decode.loss_ce'] > 0


@pytest.mark.parametrize('mode', ['whole', 'slide'])
@pytest.mark.parametrize('size', SIZES, ids=names)
@torch.no_grad()
def test_testing_any_size_gives_a_map_of_the_original_size(size, mode, linear, monkeypatch):
    linear.eval()
    monkeypatch.setitem(linear.test_cfg, 'mode', mode)
    linear.test_cfg.update(crop_size=(24, 24), stride=(16, 16))
    original = (2 * size[0] + 1, size[1] + 3)
    result, = linear.test_step(pseudo_collate([sample(size, torch.zeros(1, *original), original)]))
    logits = result.seg_logits.data
    assert logits.shape == (CLASSES, *original) and logits.isfinite().all()
    assert result.pred_sem_seg.data.shape == (1, *original)
    assert logits.std() > 0


@torch.no_grad()
def test_size_divisor_undoes_the_stretch_of_sizes_that_are_no_multiples(linear):
    """mmseg resizes the map of the padded image to the image: what lies at 38 of 40 px lands at 35 of 37."""
    size, whole = (37, 37), (40, 40)
    data = sample(size)
    linear.eval()
    features = linear.extract_feat(linear.data_preprocessor(pseudo_collate([data]), False)['inputs'])
    logits = linear.decode_head(features)
    assert logits.shape[2:] == (10, 10)
    aligned = interpolate(logits, whole, mode='bilinear')[0, :, :37, :37]
    stretched = interpolate(logits, size, mode='bilinear')[0]
    plain = linear.test_step(pseudo_collate([data]))[0].seg_logits.data
    assert (plain - stretched).abs().max() < 1e-5 < (stretched - aligned).abs().max()
    linear.data_preprocessor.test_cfg = dict(size_divisor=PATCH)
    try:
        divisible = linear.test_step(pseudo_collate([data]))[0].seg_logits.data
    finally:
        linear.data_preprocessor.test_cfg = None
    assert (divisible - aligned).abs().max() < 1e-5


LOSSES = {
    'cross-entropy': dict(type='CrossEntropyLoss'),
    'cross-entropy over what is not ignored': dict(type='CrossEntropyLoss', avg_non_ignore=True),
    'weighted cross-entropy': dict(type='CrossEntropyLoss', class_weight=[1.] * CLASSES),
    'sigmoid': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'sigmoid over what is not ignored': dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
    'Dice': dict(type='DiceLoss', use_sigmoid=False),
}


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('label', ['ignored', 'background', 'one image ignored'])
def test_masks_of_nothing_have_a_finite_loss(loss, label, linear, figure):
    if 'weighted' in loss and 'ignored' in label and digit_version(mmseg.__version__) < digit_version('1.3'):
        pytest.skip('mmseg 1.2 weighs ignored pixels too: its weighted cross-entropy is an IndexError there')
    values = dict(ignored=(IGNORED, IGNORED), background=(0, 0)).get(label, (IGNORED, 3))
    samples = [sample((36, 36), torch.full((1, 36, 36), value)) for value in values]
    kept = linear.decode_head.loss_decode
    linear.decode_head.loss_decode = MODELS.build(LOSSES[loss])
    try:
        total, losses, gradients = loss_of(linear, samples)
    finally:
        linear.decode_head.loss_decode = kept
    assert 0 <= losses['decode.acc_seg'].item() <= 100.001
    if label == 'ignored':
        assert losses['decode.acc_seg'].item() == pytest.approx(100)
        assert total == pytest.approx(1. if loss == 'Dice' else 0.)  # nothing of nothing was found
    else:
        assert total > 0
    weight = gradients['decode_head.conv_seg.weight']
    assert bool(weight.any()) == (label != 'ignored')
    figure('Any input', 'losses of mmseg that stay finite where every pixel is ignored', len(LOSSES))


def test_a_loss_that_is_nan_where_all_is_ignored(linear):
    """mmseg's LovaszLoss returns no value at all there. No config here uses it; docs/reliability.md says so."""
    loss = MODELS.build(dict(type='LovaszLoss', reduction='none'))
    logits = torch.randn(1, CLASSES, 4, 4)
    assert loss(logits, torch.full((1, 4, 4), IGNORED), ignore_index=IGNORED).mean().isnan()
    assert loss(logits, torch.full((1, 4, 4), 3), ignore_index=IGNORED).isfinite()
    assert 'Lovasz' not in ''.join(path.read_text() for path in (ROOT / 'configs').rglob('*.py'))


def test_a_metric_of_nothing_is_nan_and_of_something_is_not():
    init_default_scope('mmseg')

    def score(*labels):
        metric = METRICS.build(dict(type='IoUMetric', iou_metrics=['mIoU', 'mDice', 'mFscore']))
        metric.dataset_meta = dict(classes=[str(i) for i in range(CLASSES)])
        for label in labels:
            prediction = torch.full((1, 8, 8), 3)
            metric.process({}, [dict(pred_sem_seg=dict(data=prediction), gt_sem_seg=dict(data=label))])
        return metric.evaluate(len(labels))

    nothing, something = torch.full((1, 8, 8), IGNORED), torch.full((1, 8, 8), 3)
    assert np.isnan(score(nothing)['mIoU'])
    assert score(nothing, something) == score(something) and score(something)['mIoU'] == 100
