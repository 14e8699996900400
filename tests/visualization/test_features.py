"""Features block by block: the figures against their definitions, the tool with labels and without, its errors."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from mmlocat.models import LocAtViT
from mmlocat.visualization import features_report, style
from mmlocat.visualization.features import MEASURES, find_pairs, measure_features, patch_labels, probe
from mmlocat.visualization.maps import Maps, collect
from mmlocat.visualization.measures import class_similarity, effective_rank, patch_similarity
from tests.conftest import NANO
from tests.helpers.demo_layout import write_demo_models
from tests.helpers.legible import assert_legible
from tests.helpers.tool_runner import run_tool


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return write_demo_models(tmp_path_factory.mktemp('demo'), heads=('pretrain', ))


@pytest.fixture
def folder(tmp_path):
    """Five images of two sizes, with label maps: left of the middle class 0, right of it class 3."""
    random = np.random.default_rng(0)
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
    for number in range(5):
        height, width = (24, 32) if number < 3 else (30, 24)
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        image[:, width // 2:] //= 4  # something to learn
        Image.fromarray(image).save(tmp_path / 'images' / f'{number}.jpg')
        labels = np.zeros((height, width), np.uint8)
        labels[:, width // 2:] = 3
        labels[:4, :4] = 255
        Image.fromarray(labels).save(tmp_path / 'masks' / f'{number}.png')
    return tmp_path


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


class Model(torch.nn.Module):
    """A backbone with a data preprocessor, as in a classifier."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(1)
        self.backbone = LocAtViT(NANO, img_size=24, patch_size=4, **options)

    def data_preprocessor(self, data, training):
        return dict(inputs=torch.stack(data['inputs']).float() / 255)

    def extract_feat(self, images):
        return self.backbone(images)


def test_figures_are_means_over_images_whatever_their_sizes(folder):
    model = Model(num_registers=1)
    rows = measure_features(model, find_pairs(folder / 'images', None, 100))
    assert len(rows) == 4 and list(rows[0]) == list(MEASURES) and rows[0]['linear'] is None
    expected = []
    for path in sorted((folder / 'images').iterdir()):
        image = torch.from_numpy(np.asarray(Image.open(path)).transpose(2, 0, 1)[::-1].copy()).float() / 255
        block = collect(model, image).blocks[2]
        tokens = block.tokens[None]
        expected.append([class_similarity(tokens, 2).item(), patch_similarity(tokens[:, 2:]).item(),
                         effective_rank(tokens[:, 2:]).item(), block.mean_distance().mean()])
    found = list(rows[2].values())[:4]
    assert np.allclose(found, np.mean(expected, axis=0), rtol=1e-4)
    assert measure_features(Model(with_cls_token=False, out_type='featmap'),
                            find_pairs(folder / 'images', None, 1))[0]['class_similarity'] is None


def test_a_patch_has_its_commonest_label():
    labels = np.array([[1, 1, 5, 5, 7], [1, 2, 5, 255, 7], [9, 9, 255, 255, 8]], np.uint8)
    found = patch_labels(labels, Maps([], (2, 3), (2, 2)))
    # The last column and row are half, or three quarters, padding.
    assert found.tolist() == [1, 5, 7, 9, 255, 255]


def test_probes_read_off_what_is_there_and_no_more():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600)
    apart = random.normal(size=(600, 4)) + 8 * np.eye(4)[labels]
    halves = slice(None, 300), slice(300, None)
    assert min(probe(*[(apart[half], labels[half]) for half in halves])) > 95
    noise = random.normal(size=(600, 4))
    assert max(probe(*[(noise[half], labels[half]) for half in halves])) < 50
    # Always the commonest class: right for nine in ten patches, and for one class in two.
    rare = (np.arange(600) % 10 == 0).astype(int)
    linear, by_class, *_ = probe(*[(np.zeros((300, 4)), rare[half]) for half in halves])
    assert linear == pytest.approx(90) and by_class == pytest.approx(50)
    with pytest.raises(ValueError, match='have one class alone'):
        probe((noise, np.zeros(600)), (noise, labels))


def test_the_demo_models_on_digit_scenes(demo, digit_scenes, tmp_path, capsys):
    options = ['--demo-dir', demo, '--data-root', digit_scenes, '--max-patches', 300, '--max-images', 8, '--markdown']
    run_tool('analysis/features.py', *options, '--out', tmp_path / 'a')
    rows = rows_of(tmp_path / 'a' / 'features.csv')
    assert [(row['model'], row['block']) for row in rows] == [
        (title, str(block)) for title in ('ViT', 'LocAtViT') for block in range(1, 5)]
    for row in rows:
        assert all(0 <= float(row[name]) <= 100 for name in ('linear', 'linear_by_class', 'neighbours'))
        assert -1 <= float(row['class_similarity']) <= 1 and 1 <= float(row['effective_rank']) <= 64
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    assert len(table) == 10 and f'{float(rows[5]["linear"]):.1f}' in table[7]
    assert Image.open(tmp_path / 'a' / 'features.png').width > 800
    run_tool('analysis/features.py', *options, '--out', tmp_path / 'b')  # the same patches are drawn again
    assert rows_of(tmp_path / 'b' / 'features.csv') == rows


def test_a_folder_with_labels_and_without(demo, folder, tmp_path, capsys):
    from mmlocat.experiments.demo_models import demo_model
    models = [part for arm in ('vit', 'locatvit') for part in ('--model', 'Both', demo_model(
        arm, 'pretrain', demo).config, demo_model(arm, 'pretrain', demo).checkpoint)]
    run_tool('analysis/features.py', folder / 'images', *models, '--out', tmp_path / 'a')
    rows = rows_of(tmp_path / 'a' / 'features.csv')
    assert len(rows) == 8 and {row['number'] for row in rows} == {'1', '2'}
    assert all(row['linear'] == '' and row['patch_similarity'] for row in rows)
    out = capsys.readouterr().out
    assert '±' in out and 'k-NN' not in out
    run_tool('analysis/features.py', folder / 'images', '--masks', folder / 'masks', *models, '--out', tmp_path / 'b')
    assert all(row['linear'] and row['neighbours'] for row in rows_of(tmp_path / 'b' / 'features.csv'))


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere'], 'nowhere is not a folder'),
    (['FOLDER'], 'has no images (.png, .jpg'),
    (['FOLDER/images', '--masks', 'FOLDER/images'], '5 of 5 images in'),
    (['FOLDER/images', '--train-images', 'FOLDER/images'], 'belong together: give all three'),
    (['--masks', 'FOLDER/masks'], 'belong to a folder of images; give it first'),
    (['FOLDER/images', '--demo-dir', 'nowhere'], 'run `make demo`'),
    (['FOLDER/images', '--out', 'FOLDER/images/0.jpg'], 'is a file; it names a folder'),
])
def test_bad_input_gets_one_line(arguments, message, demo, folder, capsys):
    arguments = [argument.replace('FOLDER', str(folder)) for argument in arguments]
    with pytest.raises(SystemExit) as stop:
        run_tool('analysis/features.py', '--demo-dir', demo, *arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 1 and message in error and 'Traceback' not in error


@pytest.mark.parametrize('probes', [True, False])
def test_the_figure_can_be_read(probes, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(features_report, 'save', lambda figure, path, dpi: seen.append(figure))
    random = np.random.default_rng(0)
    figures = (50., 40., 55., 45.) if probes else (None, ) * 4
    results = {title: [[dict(zip(MEASURES, (*random.random(4), *figures))) for _ in range(12)] for _ in range(3)]
               for title in ('ViT', 'LocAtViT', 'ViT + GAug', 'ViT + PRR')}
    features_report.draw(results, tmp_path / 'a.png', 'Frozen features: a folder, 500 images', 9.1 if probes else None)
    words = assert_legible(seen[0])
    assert ('Linear probe of patches' in words) == ('chance' in words) == probes
    assert 'LocAtViT, mean of 3' in words and 'cosine similarity' in words
    style.pyplot().close(seen[0])
