"""Figures and picture of the demo."""

import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets import DigitScenesSegmentation
from mmlocat.experiments.demo import results
from mmlocat.experiments.demo.picture import draw_summary


@pytest.fixture
def dataset(digit_scenes):
    return DigitScenesSegmentation('test', str(digit_scenes))


def write_predictions(dataset, folder, change=lambda labels: labels):
    folder.mkdir()
    for i in range(len(dataset)):
        path = dataset.get_data_info(i)['seg_map_path']
        labels = np.array(Image.open(path))
        Image.fromarray(change(labels)).save(folder / path.rsplit('/', 1)[1])
    return folder


def test_class_iou(dataset, tmp_path):
    perfect = results.class_iou(write_predictions(dataset, tmp_path / 'perfect'), dataset)
    assert perfect.shape == (11, ) and np.nanmin(perfect) == 100
    nothing = results.class_iou(write_predictions(dataset, tmp_path / 'nothing', np.zeros_like), dataset)
    pixels = np.concatenate([np.array(Image.open(dataset.get_data_info(i)['seg_map_path'])).ravel() for i in range(9)])
    assert nothing[0] == pytest.approx(100 * (pixels == 0).mean())
    assert np.nansum(nothing[1:]) == 0
    (tmp_path / 'nothing' / '00003.png').unlink()
    with pytest.raises(FileNotFoundError, match='00003.png'):
        results.class_iou(tmp_path / 'nothing', dataset)


def summary():
    figures = [('vit', 0, 20.0, 90.0), ('vit', 1, 22.0, 92.0), ('locatvit', 0, 30.0, 94.0), ('locatvit', 1, 21.0, 96.0)]
    rows = [results.Result(arm, 'linear', seed, miou, [miou] * 2, top1, 1234) for arm, seed, miou, top1 in figures]
    return results.Summary(['background', 'zero'], rows, {'vit linear': 100.0, 'locatvit linear': 90.4})


def test_tables():
    header, plain, locat = results.rows(summary())
    assert header == ['model', 'head', 'top-1 %', 'mIoU %', 'parameters', 'images/s']
    assert plain == ['ViT', 'one layer, frozen', '91.0 ± 1.4', '21.0 ± 1.4', '1,234', '100']
    assert locat[3] == '25.5 ± 6.4'
    by_seed = results.seed_rows(summary())
    assert by_seed[0] == ['model', 'head', 'seed', 'top-1 %', 'mIoU %', 'background', 'zero']
    assert by_seed[4] == ['LocAtViT', 'one layer, frozen', '1', '96.0', '21.0', '21.0', '21.0']
    assert results.class_rows(summary())[1] == ['background', '21.0', '25.5']
    assert results.markdown([['a', 'b'], ['1', '2']]) == '| a | b |\n| --- | --- |\n| 1 | 2 |\n'


def test_verdict_says_what_the_numbers_say():
    assert '4.5 ± 7.8 mIoU points (paired by seed), higher in 1 of 2 runs' in results.verdict(summary())
    assert results.verdict(results.Summary(['background'])) == ''


def test_picture(dataset, tmp_path):
    predictions = write_predictions(dataset, tmp_path / 'p')
    draw_summary(tmp_path / 'summary.png', dataset, [('ViT', predictions), ('LocAtViT', predictions)], count=4)
    picture = np.asarray(Image.open(tmp_path / 'summary.png').convert('RGB'))
    assert picture.shape[1] > 500
    palette = np.asarray(dataset.metainfo['palette'])
    assert all((picture == colour).all(-1).any() for colour in palette)  # every class of the legend
    with pytest.raises(FileNotFoundError):
        draw_summary(tmp_path / 'broken.png', dataset, [('ViT', tmp_path / 'none')], count=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['p', 'summary.png']
