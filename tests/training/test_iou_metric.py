"""Every image gets a label map of its own, below the folders that hold the image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmseg.datasets import BaseSegDataset
from mmseg.evaluation import IoUMetric
from PIL import Image

from mmlocat.training.iou_metric import keep_image_folders, label_map_names


@pytest.mark.parametrize(('images', 'roots', 'names'), [
    (['d/img/1.jpg', 'd/img/2.jpg'], ['d/img'], ['1', '2']),
    (['d/img/a/1.jpg', 'd/img/b/1.jpg'], ['d/img/'], ['a/1', 'b/1']),
    (['d/img/a/1.jpg', 'd/img/a/2.jpg'], ['d/img'], ['a/1', 'a/2']),  # one city keeps its folder
    (['d/img/a/1.jpg', 'd/img/a/2.jpg'], [], ['1', '2']),
    (['d/img/1.jpg', 'e/img/1.jpg'], ['d/img', 'e/img'], ['d/img/1', 'e/img/1']),  # two data sets
    (['d/img/1.jpg', 'e/1.jpg'], ['d/img'], ['d/img/1', 'e/1']),  # a list that points elsewhere
    (['d/1.jpg', 'd/1.png', 'd/2.png'], ['d'], ['1.jpg', '1.png', '2']),
    (['d/1.x.png'], ['d'], ['1.x']),
])
def test_names(images, roots, names):
    assert label_map_names(images, roots) == dict(zip(images, names))


def dataset(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return BaseSegDataset(data_root=str(folder), data_prefix=dict(img_path=''), img_suffix='.png', test_mode=True,
                          metainfo=dict(classes=['a', 'b']))


def test_equal_names_in_several_folders(tmp_path):
    data = ConcatDataset([dataset(tmp_path / 'x', 'a/1.png', 'b/1.png'), dataset(tmp_path / 'y', 'a/1.png')])
    metric = IoUMetric(output_dir=str(tmp_path / 'out'))
    metric.dataset_meta = dict(classes=['a', 'b'])
    keep_image_folders(SimpleNamespace(metrics=[object(), metric]), data)
    labels = torch.tensor([[0, 1], [1, 1]])
    for i in range(3):
        prediction = torch.full((1, 2, 2), i % 2)
        metric.process({}, [dict(data.get_data_info(i), pred_sem_seg=dict(data=prediction),
                                 gt_sem_seg=dict(data=labels))])
    written = sorted((tmp_path / 'out').rglob('*.png'))
    assert [str(path.relative_to(tmp_path / 'out')) for path in written] == ['x/a/1.png', 'x/b/1.png', 'y/a/1.png']
    assert [int(np.asarray(Image.open(path)).max()) for path in written] == [0, 1, 0]
    assert len(metric.results) == 3 and metric.output_dir == str(tmp_path / 'out')


def process(metric, *paths):
    labels = dict(data=torch.tensor([[0, 1]]))
    metric.dataset_meta = dict(classes=['a', 'b'])
    for path in paths:
        metric.process({}, [dict(img_path=path, pred_sem_seg=labels, gt_sem_seg=labels)])


def test_a_path_that_the_data_set_does_not_have_gives_its_own_name(tmp_path):
    data = dataset(tmp_path / 'x', 'a/1.png', 'b/1.png')
    metric = IoUMetric(output_dir=str(tmp_path / 'out'))
    keep_image_folders(SimpleNamespace(metrics=[metric]), data)
    process(metric, 'elsewhere/7.jpg')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['7.png']


@pytest.mark.parametrize('known', [True, False], ids=['known', 'nameless'])
def test_no_label_map_is_written_over_by_another_images(known, tmp_path):
    """Where a pipeline has changed the paths, or the records have none; the same image may come again."""
    class Nameless(BaseSegDataset):
        def load_data_list(self):
            return [dict(frame=1)]

    data = dataset(tmp_path / 'x', '1.png', 'a/2.png') if known else Nameless(metainfo=dict(classes=['a', 'b']))
    metric = IoUMetric(output_dir=str(tmp_path / 'out'))
    keep_image_folders(SimpleNamespace(metrics=[metric]), data)
    process(metric, 'cache/a/1.png', 'cache/a/3.png', 'cache/a/1.png')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['1.png', '3.png']
    for other in ['cache/b/1.png', *([f'{tmp_path}/x/1.png'] if known else [])]:  # a name like one of the data set's
        with pytest.raises(ValueError, match=f'out/1.png would hold .* both cache/a/1.png and {other}: give') as caught:
            process(metric, other)
        assert '\n' not in str(caught.value)
    assert len(metric.results) == 3


def test_what_writes_nothing_stays_as_it_is(tmp_path):
    metric, data = IoUMetric(), dataset(tmp_path, '1.png')
    keep_image_folders(SimpleNamespace(metrics=[metric]), data)
    keep_image_folders(None, data)
    assert metric.process.__func__ is IoUMetric.process
