"""k-NN scores equal the published evaluation's, for any division of the search into blocks."""

import pytest
import torch
from torch.nn.functional import normalize

from mmlocat.evaluation import knn_scores, nearest, neighbours
from tests.conftest import load_golden

KS = (5, 10, 20, 100, 200)


@pytest.fixture(scope='module')
def golden():
    return load_golden('knn')


def scores(golden, k, rows=None, **options):
    data = golden.tensors
    return knn_scores(data['train_features'][:rows], data['train_labels'][:rows], data['test_features'], k=k,
                      num_classes=golden.num_classes, **options)


@pytest.mark.parametrize('k', KS)
def test_scores_and_predictions_are_the_published_ones(golden, k):
    actual, expected = scores(golden, k), golden.tensors[f'scores_{k}']
    assert ((actual - expected).abs().amax(1) <= 1e-4 * expected.amax(1)).all()
    assert torch.equal(actual.argmax(1), golden.tensors[f'predictions_{k}'])
    hits = (actual.topk(5, dim=1).indices == golden.tensors['test_labels'][:, None]).float()
    top1, top5, _ = golden.top1_top5_leastmargin[str(k)]
    assert 100 * hits[:, 0].mean() == pytest.approx(top1, abs=1e-4)
    if k > 5:  # five neighbours leave most classes at 0, and the published top-5 depends on how such ties are sorted
        assert 100 * hits.sum(1).mean() == pytest.approx(top5, abs=1e-4)


@pytest.mark.parametrize(('query_block', 'memory_block'), [(512, 65536), (7, 11), (1000, 3)])
def test_blocks_of_any_size_find_the_published_neighbours(golden, monkeypatch, query_block, memory_block):
    monkeypatch.setattr(neighbours, 'QUERY_BLOCK', query_block)
    monkeypatch.setattr(neighbours, 'MEMORY_BLOCK', memory_block)
    memory = normalize(golden.tensors['train_features'], dim=1)
    queries = normalize(golden.tensors['test_features'], dim=1)
    similarity, rows = nearest(memory, queries, 20, 'torch')
    assert torch.equal(rows, golden.tensors['neighbours_20'])
    torch.testing.assert_close(similarity, (queries @ memory.T).gather(1, rows))


def test_no_matrix_of_all_pairs_exists(monkeypatch):
    largest = []
    matmul = torch.Tensor.__matmul__

    def watched(left, right):
        result = matmul(left, right)
        largest.append(result.numel())
        return result

    monkeypatch.setattr(torch.Tensor, '__matmul__', watched)
    nearest(torch.randn(70_000, 4), torch.randn(600, 4), 5, 'torch')
    assert max(largest) == neighbours.QUERY_BLOCK * neighbours.MEMORY_BLOCK


def test_faiss_finds_the_same_neighbours(golden):
    pytest.importorskip('faiss')
    memory = normalize(golden.tensors['train_features'], dim=1)
    queries = normalize(golden.tensors['test_features'], dim=1)
    assert torch.equal(nearest(memory, queries, 20, 'faiss')[1], nearest(memory, queries, 20, 'torch')[1])


def test_fewer_training_images_than_neighbours_all_vote(golden):
    torch.testing.assert_close(scores(golden, 200, rows=30), scores(golden, 30, rows=30))
    assert (scores(golden, 200, rows=1) > 0).sum(1).eq(1).all()


def test_half_precision_features_vote_in_float32(golden):
    data = golden.tensors
    actual = knn_scores(data['train_features'].bfloat16(), data['train_labels'], data['test_features'].bfloat16(),
                        k=20, num_classes=10)
    assert actual.dtype == torch.float32
    assert (actual.argmax(1) == data['predictions_20']).float().mean() > 0.9


def test_no_query_gives_no_neighbour():
    similarity, rows = nearest(torch.randn(5, 3), torch.empty(0, 3), 2, 'torch')
    assert similarity.shape == rows.shape == (0, 2)


@pytest.mark.parametrize(('change', 'message'), [
    (dict(k=0), 'k must be positive, got 0'),
    (dict(temperature=0.), 'temperature must be positive, got 0.0'),
    (dict(num_classes=2), r'between 0 and 1 \(num_classes=2\), got 2'),
    (dict(train_labels=torch.tensor([0, 1, 2])), 'one entry for each of the 4 training features'),
    (dict(test_features=torch.randn(2, 5)), r'shapes \(M, C\) and \(N, C\), got \(4, 3\) and \(2, 5\)'),
    (dict(train_features=torch.empty(0, 3), train_labels=torch.empty(0, dtype=torch.long)), 'no rows'),
    (dict(backend='fais'), "one of auto, torch, faiss, got 'fais'"),
])
def test_wrong_arguments_are_named(change, message):
    arguments = dict(train_features=torch.randn(4, 3), train_labels=torch.arange(4) % 3, k=2, num_classes=3,
                     test_features=torch.randn(2, 3))
    arguments.update(change)
    with pytest.raises(ValueError, match=message):
        knn_scores(arguments.pop('train_features'), arguments.pop('train_labels'), arguments.pop('test_features'),
                   **arguments)


def test_a_missing_faiss_is_named(monkeypatch):
    monkeypatch.setattr(neighbours.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='needs the package faiss-cpu'):
        nearest(torch.randn(3, 2), torch.randn(1, 2), 1, 'faiss')
