"""Dense retrieval equals the published evaluation's; the clean protocol is without its habits."""

import pytest
import torch

from mmlocat.evaluation import build_memory, hummingbird, label_distributions, nearest, retrieve
from mmlocat.evaluation.bank import Bank
from mmlocat.evaluation.metrics import RetrievalIoU, score_confusion
from tests.conftest import golden_names, load_golden

GRID, PIXELS = (5, 5), 20


def memory_of(case, **options):
    data = case.tensors
    return build_memory(data['train_features'], data['train_labels'], num_classes=case.num_classes,
                        patch_size=case.patch_size, size=case.memory_size, noise=data.get('noise'), **options)


@pytest.fixture(params=golden_names('hummingbird'))
def case(request):
    return load_golden(request.param)


def test_the_memory_is_the_published_one(case):
    memory = memory_of(case)
    torch.testing.assert_close(memory.features, case.tensors['memory_features'], rtol=0, atol=1e-5)
    torch.testing.assert_close(memory.labels, case.tensors['memory_labels'], rtol=0, atol=1e-5)


def test_neighbours_and_label_maps_are_the_published_ones(case):
    memory, queries = memory_of(case), case.tensors['val_features']
    search = dict(num_neighbours=case.n_neighbours, temperature=case.beta)
    flat = torch.nn.functional.normalize(queries, dim=2).flatten(0, 1)
    rows = nearest(memory.features, flat, case.n_neighbours)[1]
    assert torch.equal(rows.view_as(case.tensors['neighbours']), case.tensors['neighbours'])
    shares = label_distributions(memory, queries, **search)
    torch.testing.assert_close(shares, case.tensors['label_hat'], rtol=0, atol=1e-5)
    assert torch.equal(retrieve(memory, queries, grid=GRID, image_size=PIXELS, **search), case.tensors['prediction'])


def iou_of(case, protocol):
    metric = RetrievalIoU(case.num_classes, case.ignore_index, protocol)
    for predicted, label in zip(case.tensors['prediction'], case.tensors['val_labels']):
        metric.process(None, [dict(pred_sem_seg=dict(data=predicted), gt_sem_seg=dict(data=label))])
    return metric.evaluate(len(case.tensors['prediction']))['mIoU']


def test_the_published_mean_iou_comes_out(case):
    assert iou_of(case, 'published') == pytest.approx(100 * case.miou_hungarian, abs=1e-5)


def test_without_matching_the_clean_mean_is_over_classes_that_occur(case):
    occurring = sum(sum(counts) > 0 for counts in zip(case.tp, case.fp, case.fn))
    assert iou_of(case, 'clean') == pytest.approx(100 * case.miou_identity * case.num_classes / occurring, abs=1e-5)


@pytest.mark.parametrize(('sample', 'source'), [
    (dict(), '^'), (dict(img_path='a.jpg'), '^a.jpg: '), (dict(img_path='a.jpg', seg_map_path='a.png'), '^a.png: ')])
def test_a_test_label_that_is_no_class_is_named(sample, source):
    metric = RetrievalIoU(3, ignore_index=9)
    label = torch.tensor([[0, 2, 255, 9]])
    sample.update(pred_sem_seg=dict(data=torch.zeros(1, 4).long()), gt_sem_seg=dict(data=label))
    metric.process(None, [sample])
    label[0, 1] = 3
    with pytest.raises(ValueError, match=source + r'labels must lie between 0 and 2 \(num_classes=3\) .* got 3'):
        metric.process(None, [sample])


def test_counts_of_each_class_are_the_published_ones(case):
    predicted, labels = case.tensors['prediction'], case.tensors['val_labels'].long()
    scored = (labels != 255) & (labels != case.ignore_index)
    confusion = torch.zeros(case.num_classes, case.num_classes, dtype=torch.long)
    confusion.view(-1).index_add_(0, predicted[scored] * case.num_classes + labels[scored],
                                  torch.ones(int(scored.sum()), dtype=torch.long))
    scores = score_confusion(confusion, 'clean')  # the golden counts are those of classes as they are
    assert scores.true_positive.tolist() == case.tp
    assert scores.false_positive.tolist() == case.fp
    assert scores.false_negative.tolist() == case.fn


def test_matching_finds_permuted_classes():
    confusion = torch.tensor([[0, 0, 9], [8, 1, 0], [0, 7, 2]])
    matched = score_confusion(confusion)
    assert matched.true_positive.tolist() == [8, 7, 9]
    assert matched.mean_iou > score_confusion(confusion, 'clean').mean_iou


def test_clean_shares_are_over_labelled_pixels_and_unlabelled_patches_go():
    labels = torch.tensor([[[1, 255, 255, 255], [1, 2, 255, 255]]])  # two patches of 2 x 2
    features = torch.randn(1, 2, 3)
    options = dict(num_classes=3, patch_size=2)
    clean = build_memory(features, labels, protocol='clean', **options)
    assert clean.features.shape == (1, 3)
    torch.testing.assert_close(clean.labels, torch.tensor([[0, 2 / 3, 1 / 3]]))
    published = build_memory(features, labels, **options)
    torch.testing.assert_close(published.labels, torch.tensor([[0.25, 0.5, 0.25], [1., 0., 0.]]))


@pytest.mark.parametrize('protocol', ['published', 'clean'])
def test_a_bounded_memory_takes_as_many_patches_from_every_image(protocol):
    labels = torch.randint(0, 3, (4, 8, 8))
    features = torch.randn(4, 16, 5)
    options = dict(num_classes=3, patch_size=2, protocol=protocol)
    assert len(build_memory(features, labels, size=15, **options).features) == 4 * 3
    assert len(build_memory(features, labels, size=2, **options).features) == 4
    assert len(build_memory(features, labels, patches_per_image=5, **options).features) == 4 * 5


def test_sampling_prefers_patches_of_rare_classes():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :2, :2] = 1  # one patch of sixteen
    memory = build_memory(torch.randn(1, 16, 4), labels, num_classes=2, patch_size=2, patches_per_image=1,
                          noise=torch.full((1, 16), 0.5))
    assert memory.labels.tolist() == [[0., 1.]]


def test_clean_sampling_never_takes_an_unlabelled_patch():
    labels = torch.full((1, 4, 4), 255)
    labels[:, :2, :2] = 1
    memory = build_memory(torch.randn(1, 4, 3), labels, num_classes=2, patch_size=2, patches_per_image=3,
                          protocol='clean')
    assert memory.labels.tolist() == [[0., 1.]]


def test_a_patch_of_the_memory_retrieves_its_own_label():
    labels = torch.arange(4).view(1, 2, 2).repeat_interleave(2, 1).repeat_interleave(2, 2)
    features = torch.randn(1, 4, 16)
    memory = build_memory(features, labels, num_classes=4, patch_size=2)
    assert torch.equal(retrieve(memory, features, grid=(2, 2), image_size=(2, 2), num_neighbours=1),
                       torch.arange(4).view(1, 2, 2))


@pytest.mark.parametrize(('block', 'images'), [(10**9, 5), (2 * 3 * 64 + 1, 2), (1, 1)])
def test_images_are_enlarged_in_blocks_with_equal_label_maps(monkeypatch, block, images):
    memory = build_memory(torch.randn(2, 16, 8), torch.randint(0, 3, (2, 8, 8)), num_classes=3, patch_size=2)
    queries = torch.randn(5, 16, 8)
    shares = label_distributions(memory, queries).transpose(1, 2).unflatten(2, (4, 4))
    interpolate = torch.nn.functional.interpolate
    expected = interpolate(shares, (8, 8), mode='bilinear').argmax(1)
    sizes = []
    monkeypatch.setattr(hummingbird, 'ENLARGED', block)
    monkeypatch.setattr(hummingbird, 'interpolate', lambda maps, *args, **kwargs: sizes.append(len(maps)) or
                        interpolate(maps, *args, **kwargs))
    for size in (8, (8, 8)):
        assert torch.equal(retrieve(memory, queries, grid=(4, 4), image_size=size), expected)
    assert max(sizes) == images


@pytest.mark.parametrize(('protocol', 'bound'), [('published', None), ('clean', None), ('clean', 3)])
def test_blocks_of_images_give_one_memory_held_once(monkeypatch, protocol, bound):
    """70 images are two blocks; the rows equal those of each image alone, and there is one allocation of a column."""
    features, labels, noise = torch.randn(70, 16, 8), torch.randint(0, 3, (70, 8, 8)), torch.rand(70, 16)
    labels[5:9] = 255
    options = dict(num_classes=3, patch_size=2, protocol=protocol, patches_per_image=bound)
    sizes = []
    empty = torch.empty
    monkeypatch.setattr('mmlocat.evaluation.bank.torch.empty', lambda *shape, **kwargs: sizes.append(shape) or empty(
        *shape, **kwargs))
    whole = build_memory(features, labels, noise=noise, **options)
    assert sizes == [(70 * (bound or 16), 8), (70 * (bound or 16), 3)]
    parts = [build_memory(features[i:i + 1], labels[i:i + 1], noise=noise[i:i + 1], **options) for i in range(70)]
    assert torch.equal(whole.features, torch.cat([part.features for part in parts]))
    assert torch.equal(whole.labels, torch.cat([part.labels for part in parts]))
    assert len(whole.features) == 70 * (bound or 16) - (0 if protocol == 'published' else 4 * (bound or 16))


def test_a_memory_without_room_says_how_large_it_would_be():
    with pytest.raises(RuntimeError, match=r'no room for a memory of up to 9,000,.* rows of 768 \+ 151 numbers, .* GiB '
                                           r'on cpu; bound it \(test_cfg.size or'):
        Bank(9 * 10**15, [torch.empty(1, 768), torch.empty(1, 151)])


@pytest.mark.parametrize(('change', 'message'), [
    (dict(features=torch.randn(0, 4, 8)), r'with one image at least, got \(0, 4, 8\)'),
    (dict(protocol='paper'), "protocol must be 'published'.* got 'paper'"),
    (dict(labels=torch.zeros(2, 4, 4).long()), r'shape \(2, 4, 4\) do not divide into 4 patches of 2 px'),
    (dict(labels=torch.zeros(1, 5, 4).long()), 'do not divide'),
    (dict(labels=torch.full((1, 4, 4), 7)), r'between 0 and 2 \(num_classes=3\) or be 255, got 7'),
    (dict(size=0), 'size must be positive, got 0'),
    (dict(size=2, noise=torch.rand(4)), r'shape \(1, 4\), got \(4,\)'),
])
def test_wrong_arguments_are_named(change, message):
    arguments = dict(features=torch.randn(1, 4, 8), labels=torch.zeros(1, 4, 4).long(), num_classes=3, patch_size=2)
    arguments.update(change)
    with pytest.raises(ValueError, match=message):
        build_memory(arguments.pop('features'), arguments.pop('labels'), **arguments)


@pytest.mark.parametrize(('change', 'message'), [
    (dict(grid=(2, 3)), r'\(images, 6, C\) for grid \(2, 3\), got \(1, 4, 8\)'),
    (dict(temperature=-1), 'temperature must be positive, got -1'),
])
def test_wrong_queries_are_named(change, message):
    features = torch.randn(1, 4, 8)
    memory = build_memory(features, torch.zeros(1, 4, 4).long(), num_classes=3, patch_size=2)
    with pytest.raises(ValueError, match=message):
        retrieve(memory, features, **{**dict(grid=(2, 2), image_size=4), **change})
