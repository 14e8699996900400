"""k-NN and dense retrieval in a Runner report the numbers of the functions, for any number of processes."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from mmseg.visualization import SegLocalVisualizer
from torch.utils.data import DataLoader

import mmlocat.datasets  # noqa: F401 - registers
import mmlocat.models  # noqa: F401 - registers
from mmlocat.evaluation import RetrievalTransform, build_memory, knn_scores, retrieve
from mmlocat.evaluation.loops import KNNLoop
from mmlocat.evaluation.metrics import RetrievalIoU
from tests.conftest import NANO, ROOT
from tests.helpers.interrupted import environments, finish, start

BACKBONE = dict(type='LocAtViT', arch=NANO, img_size=24, patch_size=4)
DATA = dict(num_workers=0, batch_size=5, sampler=dict(type='DefaultSampler', shuffle=False))


def knn_config(root):
    """Returns a test of 16 images by a memory of 37: neither divides into two equal shares of whole batches."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

    def loader(split, count):
        return dict(DATA, dataset=dict(type='DigitScenesClassification', data_root=str(root), split=split,
                                       pipeline=pipeline, indices=count))

    return dict(
        default_scope='mmpretrain',
        model=dict(type='ImageClassifier', backbone=dict(BACKBONE, out_type='raw'),
                   neck=dict(type='PatchRefinement', num_heads=2),
                   head=dict(type='VisionTransformerClsHead', num_classes=10, in_channels=64),
                   data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)),
        test_dataloader=loader('test', 16), test_evaluator=dict(type='KNNAccuracy'),
        test_cfg=dict(type='KNNLoop', memory_dataloader=loader('train', 37), k=(1, 5, 100)))


def retrieval_config(root, **loop):
    def loader(split, count):
        return dict(DATA, dataset=dict(
            type='DigitScenesSegmentation', data_root=str(root), split=split, indices=count, pipeline=[
                dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                dict(type='RetrievalTransform', training=split == 'train', size=24), dict(type='PackSegInputs')]))

    return dict(
        default_scope='mmseg',
        model=dict(type='mmpretrain.ImageClassifier',
                   data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
                   backbone=dict(BACKBONE, out_type='featmap', final_norm=False)),
        test_dataloader=loader('test', 7), test_evaluator=dict(type='RetrievalIoU'),
        test_cfg=dict(type='RetrievalLoop', memory_dataloader=loader('train', 11), num_neighbours=3, **loop))


CONFIGS = dict(knn=knn_config, retrieval=retrieval_config,
               clean=lambda root: retrieval_config(root, protocol='clean', size=100))


def run(config, work_dir, launcher='none'):
    """Tests a model with weights that depend on nothing but a seed."""
    runner = Runner.from_cfg(Config(dict(config, work_dir=str(work_dir), launcher=launcher, randomness=dict(seed=0),
                                         env_cfg=dict(dist_cfg=dict(backend='gloo')), log_level='WARNING',
                                         experiment_name=f'test{id(work_dir)}')))
    generator = torch.Generator().manual_seed(0)
    for parameter in runner.model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return runner, runner.test()


def test_knn_is_the_function_on_what_the_head_reads(digit_scenes, tmp_path):
    runner, metrics = run(knn_config(digit_scenes), tmp_path)

    def features(loader):
        batches = [runner.model.data_preprocessor(batch) for batch in loader]
        with torch.no_grad():
            found = [runner.model.extract_feat(batch['inputs'], stage='pre_logits') for batch in batches]
        labels = [sample.gt_label for batch in batches for sample in batch['data_samples']]
        return torch.cat(found), torch.cat(labels)

    train, train_labels = features(runner.test_loop.memory_loader)
    test, labels = features(runner.test_loop.dataloader)
    for k in (1, 5, 100):
        scores = knn_scores(train, train_labels, test, k=k, num_classes=10)
        top1 = (scores.argmax(1) == labels).float().mean()
        assert metrics[f'knn/top1_k{k}'] == pytest.approx(100 * float(top1), abs=1e-4)
    assert metrics['knn/top5_k5'] >= metrics['knn/top1_k5']


@pytest.mark.parametrize('protocol', ['published', 'clean'])
def test_retrieval_is_the_functions_on_feature_maps(digit_scenes, tmp_path, protocol):
    runner, metrics = run(retrieval_config(digit_scenes, protocol=protocol), tmp_path)

    def features(loader):
        batches = [runner.model.data_preprocessor(batch) for batch in loader]
        with torch.no_grad():
            maps = torch.cat([runner.model.extract_feat(batch['inputs'])[-1] for batch in batches])
        labels = torch.cat([sample.gt_sem_seg.data for batch in batches for sample in batch['data_samples']])
        return maps.flatten(2).transpose(1, 2), labels

    train, train_labels = features(runner.test_loop.memory_loader)
    assert train.shape == (11, 36, 64)
    test, labels = features(runner.test_loop.dataloader)
    memory = build_memory(train, train_labels, num_classes=11, patch_size=4, protocol=protocol)
    maps = retrieve(memory, test, grid=(6, 6), image_size=24, num_neighbours=3)
    metric = RetrievalIoU(11, protocol=protocol)
    for predicted, label in zip(maps, labels):
        metric.process(None, [dict(pred_sem_seg=dict(data=predicted), gt_sem_seg=dict(data=label))])
    assert metrics['mIoU'] == pytest.approx(metric.evaluate(7)['mIoU'])


@pytest.mark.parametrize('name', ['knn', 'clean'])
def test_two_processes_with_unequal_shares_report_the_same(digit_scenes, tmp_path, name):
    settings = CONFIGS[name](digit_scenes)
    runner, alone = run(settings, tmp_path / 'alone')
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=runner.model.state_dict()), weights)
    config = tmp_path / 'config.py'
    imports = dict(imports=['mmlocat.models', 'mmlocat.datasets', 'mmlocat.evaluation'])
    Config(dict(settings, custom_imports=imports, randomness=dict(seed=0),
                env_cfg=dict(dist_cfg=dict(backend='gloo')))).dump(config)
    ranks = [start(config, tmp_path / 'two', weights, '--out', tmp_path / 'metrics.json', '--launcher', 'pytorch',
                   tool=ROOT / 'tools' / 'test.py', environment=environment) for environment in environments(2)]
    for rank in ranks:
        finish(tmp_path / 'two', rank)
    assert json.loads((tmp_path / 'metrics.json').read_text()) == pytest.approx(alone)


def test_the_protocol_reaches_transforms_and_metric(digit_scenes, tmp_path):
    runner, _ = run(retrieval_config(digit_scenes, protocol='clean'), tmp_path)
    loop = runner.test_loop
    transforms = [loader.dataset.pipeline.transforms[2] for loader in (loop.dataloader, loop.memory_loader)]
    stated = {transform.protocol for transform in transforms} | {metric.protocol for metric in loop.evaluator.metrics}
    assert stated | {loop.memory.protocol} == {'clean'}


def test_mixed_protocols_are_an_error(digit_scenes, tmp_path):
    config = retrieval_config(digit_scenes)
    config['test_evaluator']['protocol'] = 'clean'
    with pytest.raises(ValueError, match=r"the metric states protocol='clean', the loop 'published'; set test_cfg"):
        run(config, tmp_path)


@pytest.mark.parametrize(('name', 'change', 'message'), [
    ('retrieval', dict(num_neighbours=0), 'num_neighbours of RetrievalLoop must be positive, got 0'),
    ('retrieval', dict(size=-1), 'size of RetrievalLoop must be positive, got -1'),
    ('knn', dict(temperature=0), 'temperature of KNNLoop must be positive, got 0'),
    ('knn', dict(k=0), r'k of KNNLoop must be positive whole numbers of neighbours, got \(0,\)'),
    ('knn', dict(k=[20, 0.5]), r'k of KNNLoop must be positive whole numbers of neighbours, got \[20, 0.5\]'),
    ('knn', dict(memory=dict(drop_last=True)), 'drop_last=True would leave images out of the memory'),
    ('retrieval', dict(memory=dict(sampler=dict(type='DefaultSampler', shuffle=True))),
     'the sampler of the memory, DefaultSampler, shuffles; memory_dataloader needs a DefaultSampler'),
])
def test_wrong_arguments_are_refused_before_the_memory_is_filled(digit_scenes, tmp_path, name, change, message,
                                                                 monkeypatch):
    monkeypatch.setattr('mmlocat.evaluation.memory_loop.MemoryLoop.all_rows', None)
    config = CONFIGS[name](digit_scenes)
    config['test_cfg']['memory_dataloader'].update(change.pop('memory', {}))
    config['test_cfg'].update(change)
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path)


def test_a_shuffled_loader_that_is_built_already_is_refused(digit_scenes, tmp_path):
    config = Config(dict(knn_config(digit_scenes), work_dir=str(tmp_path), log_level='WARNING'))
    loop = Runner.from_cfg(config).test_loop
    with pytest.raises(ValueError, match='the sampler of the memory, RandomSampler, shuffles'):
        KNNLoop(loop.runner, loop.dataloader, loop.evaluator, DataLoader(loop.memory_loader.dataset, shuffle=True))


def test_one_number_of_neighbours_is_enough(digit_scenes, tmp_path):
    config = knn_config(digit_scenes)
    config['test_cfg']['k'] = 5
    assert set(run(config, tmp_path)[1]) == {'knn/top1_k5', 'knn/top5_k5'}


def test_a_metric_with_other_classes_is_an_error(digit_scenes, tmp_path):
    config = retrieval_config(digit_scenes)
    config['test_evaluator']['num_classes'] = 10
    with pytest.raises(ValueError, match=r"RetrievalIoU\(num_classes=10\), but protocol='published' has 11 classes"):
        run(config, tmp_path)


def test_a_memory_that_misses_images_is_an_error(digit_scenes, tmp_path):

    class Short(DefaultSampler):

        def __iter__(self):
            return islice(super().__iter__(), 10)

    config = retrieval_config(digit_scenes)
    config['test_cfg']['memory_dataloader']['sampler'] = dict(type=Short, shuffle=False)
    with pytest.raises(ValueError, match='the memory got 10 of 11 images'):
        run(config, tmp_path)


@pytest.mark.parametrize('kind', [RetrievalTransform, 'mmengine.RetrievalTransform'])
def test_a_transform_of_any_name_gets_the_protocol(digit_scenes, tmp_path, kind):
    config = retrieval_config(digit_scenes, protocol='clean')
    for loader in (config['test_dataloader'], config['test_cfg']['memory_dataloader']):
        steps = loader['dataset']['pipeline']
        steps[2] = dict(type='RandomApply', prob=1., transforms=[dict(steps[2], type=kind)])
    loop = Runner.from_cfg(Config(dict(config, work_dir=str(tmp_path), log_level='WARNING'))).test_loop
    inner = [loader.dataset.pipeline.transforms[2].transforms.transforms[0] for loader in (
        loop.dataloader, loop.memory_loader)]
    assert [transform.protocol for transform in inner] == ['clean', 'clean']


def test_a_data_set_without_classes_is_told_where_to_name_them(digit_scenes, tmp_path, monkeypatch):
    monkeypatch.setattr('mmlocat.datasets.DigitScenesClassification.METAINFO', {})
    config = Config(dict(knn_config(digit_scenes), work_dir=str(tmp_path), log_level='WARNING'))
    with pytest.raises(ValueError, match='DigitScenesClassification names no classes; give it test_dataloader.dataset'):
        Runner.from_cfg(config).test()


def test_the_protocol_reaches_data_sets_inside_wrappers(digit_scenes, tmp_path):
    config = retrieval_config(digit_scenes, protocol='clean')
    memory = config['test_cfg']['memory_dataloader']
    memory['dataset'] = dict(type='RepeatDataset', times=1, dataset=dict(type='ConcatDataset', datasets=[
        memory['dataset'], memory['dataset']]))
    runner, _ = run(config, tmp_path)
    inner = runner.test_loop.memory_loader.dataset.dataset.datasets
    assert [one.pipeline.transforms[2].protocol for one in inner] == ['clean', 'clean']
    # The same image in both parts has random numbers of its own.
    assert torch.equal(inner[0][3]['inputs'], inner[0][3]['inputs'])
    assert not torch.equal(inner[0][3]['inputs'], inner[1][3]['inputs'])


def test_a_transform_without_a_protocol_says_who_states_it():

    transform = RetrievalTransform(training=False, size=8)
    with pytest.raises(ValueError, match='RetrievalTransform has no protocol'):
        transform(dict(img=np.zeros((8, 8, 3), np.uint8), gt_seg_map=np.zeros((8, 8), np.uint8), sample_idx=0))


@pytest.mark.parametrize(('protocol', 'classes', 'ignored'), [('published', 11, 0), ('clean', 10, 255)])
def test_a_label_without_class_is_kept_unscored_or_removed(digit_scenes, tmp_path, protocol, classes, ignored):
    config = retrieval_config(digit_scenes, protocol=protocol, zero_is_unlabelled=True)
    names = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
    for loader in (config['test_dataloader'], config['test_cfg']['memory_dataloader']):
        loader['dataset']['metainfo'] = dict(classes=names, palette=[[0, 0, 0]] * 10)
    runner, metrics = run(config, tmp_path)
    metric = runner.test_loop.evaluator.metrics[0]
    assert (metric.num_classes, metric.ignore_index, runner.test_loop.memory.labels.shape[1]) == (
        classes, ignored, classes)
    assert 0 <= metrics['mIoU'] <= 100


def test_pictures_show_label_maps_at_the_size_of_the_file_and_name_label_0(digit_scenes, tmp_path):
    config = retrieval_config(digit_scenes, zero_is_unlabelled=True)
    names = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
    for loader in (config['test_dataloader'], config['test_cfg']['memory_dataloader']):
        loader['dataset'].update(indices=2, metainfo=dict(classes=names, palette=[[9, 9, 9]] * 10))
    config.update(default_hooks=dict(visualization=dict(type='SegVisualizationHook', draw=True, interval=1)),
                  visualizer=dict(type='SegLocalVisualizer', name=str(tmp_path), save_dir=str(tmp_path / 'shown')))
    drawn = []

    class Watched(SegLocalVisualizer):

        def add_datasample(self, name, image, data_sample, **kwargs):
            drawn.append((image.shape[:2], data_sample, self.dataset_meta))

    config['visualizer']['type'] = Watched
    dataset = run(config, tmp_path)[0].test_loop.dataloader.dataset
    assert len(drawn) == 2
    for (size, sample, meta), item in zip(drawn, dataset):
        assert size != (24, 24) and sample.pred_sem_seg.shape == sample.gt_sem_seg.shape == size
        assert meta['classes'] == ('no class', *names) and len(meta['palette']) == 11
        rows, columns = (torch.arange(side) * 24 // side for side in size)
        assert torch.equal(sample.gt_sem_seg.data[0].long(), item['data_samples'].gt_sem_seg.data[0][rows][:, columns])


def test_the_augmentation_of_an_image_follows_from_its_index(digit_scenes, tmp_path):
    runner, _ = run(retrieval_config(digit_scenes), tmp_path)
    dataset = runner.test_loop.memory_loader.dataset
    assert torch.equal(dataset[3]['inputs'], dataset[3]['inputs'])
    assert not torch.equal(dataset[3]['inputs'], dataset[4]['inputs'])

