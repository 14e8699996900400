"""Augmentations drawn from a stream of each sample, whatever loaded it."""

import pickle
import random
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mmlocat.training import seeding
from mmlocat.training.seeding import SeededIndex, random_stream, seeded


@DATASETS.register_module()
class Draws:
    """Gives its index and a draw of each library's generator."""

    metainfo = dict(classes=('a', ))

    def __len__(self):
        return 12

    def __getitems__(self, indices):
        raise AssertionError('would go round the seeding')

    def __getitem__(self, index):
        assert type(index) is int
        return index, random.random(), np.random.rand(), float(torch.rand(()))


def loader(kind='DefaultSampler', wrap=True, seed=0, **options):
    config = dict(dataset=dict(type='Draws'), sampler=dict(type=kind, shuffle=True), batch_size=2, num_workers=0,
                  collate_fn=dict(type='pseudo_collate'), **options)
    if not wrap:
        config['dataset'] = dict(type='Unwrapped')
    return Runner.build_dataloader(seeded(config) if wrap else config, seed=seed)


@DATASETS.register_module()
class Unwrapped(Draws):
    __getitems__ = None


def passes(loader, count=2):
    """The samples of some epochs, in order."""
    epochs = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        epochs.append([sample for batch in loader for sample in zip(*batch)])
    return epochs


def workers(count, **options):
    return dict(num_workers=count, persistent_workers=count > 0, **options)


def build(count, **options):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    settings = workers(count)
    config = loader(**options)
    return torch.utils.data.DataLoader(
        config.dataset, config.batch_size, sampler=config.sampler, collate_fn=config.collate_fn,
        worker_init_fn=config.worker_init_fn, **settings)


def test_samples_do_not_depend_on_the_number_of_workers():
    expected = passes(build(0))
    assert passes(build(1)) == passes(build(2)) == expected
    stock = [passes(build(count, wrap=False)) for count in (1, 2)]
    assert stock[0] != stock[1]  # what mmengine alone would do
    assert sorted(sample[0] for sample in expected[0]) == list(range(12))
    assert {sample[1:] for sample in expected[0]}.isdisjoint(sample[1:] for sample in expected[1])
    assert len({draw for epoch in expected for sample in epoch for draw in sample[1:]}) == 2 * 12 * 3
    assert passes(loader(seed=1)) != expected


def test_loading_leaves_the_models_stream_alone():
    states = []
    for count in (0, 1):
        built = build(count)
        built.generator = torch.Generator().manual_seed(0)  # as the Runner does
        passes(built)
        states.append((random.random(), np.random.rand(), torch.rand(3).tolist()))
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    assert states == 2 * [(random.random(), np.random.rand(), torch.rand(3).tolist())]


def test_an_error_while_loading_leaves_it_alone_too():
    torch.manual_seed(0)
    expected = torch.rand(2).tolist()
    torch.manual_seed(0)
    with pytest.raises(ZeroDivisionError), random_stream(3, 4):
        torch.rand(5)
        raise ZeroDivisionError
    assert torch.rand(2).tolist() == expected


@pytest.mark.parametrize('kind', ['DefaultSampler', 'InfiniteSampler'])
def test_processes_draw_what_one_process_draws(kind, monkeypatch):
    def first_epoch(rank, processes, batch):
        for module in (seeding, sys.modules['mmengine.dataset.sampler']):
            monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, processes))
        built = loader(kind)
        stream = iter(built)
        return [[sample for _ in range(batch // 2) for sample in zip(*next(stream))] for _ in range(3)]

    one = first_epoch(0, 1, 4)
    two = [first_epoch(rank, 2, 2) for rank in range(2)]
    for step in range(3):
        assert sorted(one[step]) == sorted(two[0][step] + two[1][step])


def test_a_run_that_goes_on_draws_the_same():
    expected = [sample for batch, _ in zip(loader('InfiniteSampler'), range(20)) for sample in zip(*batch)]
    resumed = loader('InfiniteSampler')
    resumed.sampler.start_at(14)
    assert [s for batch, _ in zip(resumed, range(13)) for s in zip(*batch)] == expected[14:]
    epochs = passes(loader())
    resumed = loader()
    resumed.sampler.set_epoch(1)
    resumed.sampler.start_at(4)
    assert [sample for batch in resumed for sample in zip(*batch)] == epochs[1][4:]
    assert passes(resumed) == epochs  # and whole passes afterwards


def test_passes_differ_where_nobody_names_them():
    built = loader()
    first, second = ([sample for batch in built for sample in zip(*batch)] for _ in range(2))
    assert [sample[0] for sample in first] == [sample[0] for sample in second]  # as mmengine's sampler has it
    assert {sample[1] for sample in first}.isdisjoint(sample[1] for sample in second)


def test_wrappers_answer_for_what_they_wrap():
    built = loader()
    assert built.dataset.metainfo is Draws.metainfo and len(built.dataset) == 12
    assert built.sampler.shuffle and built.sampler.total_size == 12 and len(built.sampler) == 12
    assert not hasattr(built.sampler, 'skip')
    from mmengine.dataset import InfiniteSampler
    assert hasattr(loader('InfiniteSampler').sampler, 'skip') == hasattr(InfiniteSampler, 'skip')
    first = next(iter(built.sampler))
    index = pickle.loads(pickle.dumps(first))
    assert index == first and index.key == first.key == (0, 0, 0) and type(index) is SeededIndex
    copied = pickle.loads(pickle.dumps(built.dataset))
    assert copied[index] == built.dataset[first]


def test_what_a_hook_changes_is_changed_in_the_data_set_itself():
    """mmpretrain's SwitchRecipeHook sets another pipeline so."""
    dataset = loader().dataset
    dataset.pipeline = 'another'
    assert vars(dataset.dataset) == dict(pipeline='another') and dataset.pipeline == 'another'
    assert list(vars(dataset)) == ['dataset']
