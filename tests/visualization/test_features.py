"""Features block by block: the figures against their definitions, the tool with labels and without, its errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmlocat.models import LocAtSwin, LocAtViT
from mmlocat.visualization import features
from mmlocat.visualization.maps import Maps, collect
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
    pairs = features._find_pairs(folder / 'images', None, 100)
    found = features._measure_features(Model(num_registers=1), pairs, [], 72)
    assert found.shape == (4, 4)
    expected = []
    for path in sorted((folder / 'images').iterdir()):
        image = torch.from_numpy(np.asarray(Image.open(path)).transpose(2, 0, 1)[::-1].copy()).float() / 255
        block = collect(Model(num_registers=1), image).blocks[2]
        expected.append([features._class_similarity(block.tokens, 2), features._patch_similarity(block.tokens[2:]),
                         features._effective_rank(block.tokens[2:]), block.mean_distance(True).mean()])
    assert np.allclose(found[2], np.mean(expected, axis=0), rtol=1e-4)
    without = features._measure_features(Model(with_cls_token=False, out_type='featmap'), pairs[:1], [], 72)
    assert np.isnan(without[:, 0]).all() and np.isfinite(without[:, 1:]).all()


def test_blocks_of_a_hierarchical_backbone_are_measured_on_their_own_patches(folder):
    model = Model()
    model.backbone = LocAtSwin(dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), 24, 4, window_size=4)
    labels = np.zeros((24, 40), np.uint8)
    labels[:, 20:], labels[:8, :8] = 3, 255
    maps = collect(model, torch.randn(3, 24, 40))
    (first, found), (later, coarse) = features._draw_patches(maps, labels, np.random.default_rng(0), 100)
    # 6 x 10 patches of 4 px, of which 2 x 2 are ignored; 3 x 5 of 8 px, of which 1 is. The last see 3 in half or more.
    assert first.shape == (56, 8) and np.bincount(found).tolist() == [26, 0, 0, 30]
    assert later.shape == (14, 16) and np.bincount(coarse).tolist() in ([8, 0, 0, 6], [5, 0, 0, 9])
    own = maps.blocks[1].tokens.numpy()
    assert all(any(np.array_equal(token, other) for other in own) for token in later)
    pairs = features._find_pairs(folder / 'images', folder / 'masks', 100)
    measured = features._measure_features(model, pairs[1::2], pairs[::2], 72)
    assert measured.shape == (2, 8) and np.isnan(measured[:, 0]).all() and np.isfinite(measured[:, 1:]).all()
    assert np.isnan(features._patch_similarity(torch.ones(1, 8)))


def test_measures_against_their_definitions():
    tokens = torch.randn(9, 16)
    cosine = torch.nn.functional.cosine_similarity
    to_class = cosine(tokens[2:], tokens[:1], dim=-1)
    assert features._class_similarity(tokens, 2) == pytest.approx(to_class.mean().item(), abs=1e-6)
    patches = tokens[2:]
    pairs = cosine(patches[:, None], patches[None], dim=-1)[~torch.eye(7, dtype=torch.bool)]
    assert features._patch_similarity(patches) == pytest.approx(pairs.mean().item(), abs=1e-6)
    # Plus and minus each of three axes: three directions of equal size, wherever the mean lies.
    assert features._effective_rank(torch.cat([torch.eye(3, 16), -torch.eye(3, 16)]) + 7) == pytest.approx(3, abs=1e-4)
    assert features._effective_rank(torch.ones(5, 4)) == pytest.approx(1, abs=1e-4)


def test_a_patch_has_its_commonest_label():
    labels = np.array([[1, 1, 5, 5, 7], [1, 2, 5, 255, 7], [9, 9, 255, 255, 8]], np.uint8)
    found = features._patch_labels(labels, Maps([], (2, 3), (2, 2)))
    # The last column and row are half, or three quarters, padding.
    assert found.tolist() == [1, 5, 7, 9, 255, 255]


def test_probes_read_off_what_is_there_and_no_more():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600)
    apart = random.normal(size=(600, 4)) + 8 * np.eye(4)[labels]
    assert min(features._probe(apart[:300], labels[:300], apart[300:], labels[300:])) > 95
    noise = random.normal(size=(600, 4))
    assert max(features._probe(noise[:300], labels[:300], noise[300:], labels[300:])) < 50
    # Always the commonest class: right for nine in ten patches, and for one class in two.
    rare = (np.arange(600) % 10 == 0).astype(int)
    linear, by_class, *_ = features._probe(np.zeros((300, 4)), rare[:300], np.zeros((300, 4)), rare[300:])
    assert linear == pytest.approx(90) and by_class == pytest.approx(50)
    with pytest.raises(ValueError, match='have one class alone'):
        features._probe(noise, np.zeros(600), noise, labels)


def rows_of(folder):
    """Returns the cells of the table that the tool wrote, and looks at its picture."""
    assert Image.open(folder / 'features.png').width > 800
    lines = (folder / 'features.md').read_text().splitlines()
    heads, _, *rows = [line.strip('| ').split(' | ') for line in lines if line.startswith('|')]
    assert heads[:5] == ['model', 'block', 'to [CLS]', 'to each other', 'eff. rank']
    return rows


def test_the_demo_models_on_digit_scenes(demo, digit_scenes, tmp_path, capsys):
    options = ['--demo-dir', demo, '--data-root', digit_scenes, '--max-images', 8]
    run_tool('analysis/features.py', *options, '--out', tmp_path / 'a')
    rows = rows_of(tmp_path / 'a')
    assert [row[:2] for row in rows] == [[title, str(block)] for title in ('ViT', 'LocAtViT') for block in range(1, 5)]
    figures = np.array([row[2:] for row in rows], dtype=float)
    assert (np.abs(figures[:, :2]) <= 1).all() and (figures[:, 2] >= 1).all() and (figures[:, 2] <= 64).all()
    assert figures.shape == (8, 8) and (figures[:, 4:] >= 0).all() and (figures[:, 4:] <= 100).all()
    assert rows[5][6] in capsys.readouterr().out
    run_tool('analysis/features.py', *options, '--out', tmp_path / 'b')  # the same patches are drawn again
    assert rows_of(tmp_path / 'b') == rows


def test_a_folder_with_labels_and_without(demo, folder, tmp_path):
    from mmlocat.experiments.demo_models import demo_model
    models = [part for arm in ('vit', 'locatvit') for part in ('--model', 'Both', demo_model(
        arm, 'pretrain', demo).config, demo_model(arm, 'pretrain', demo).checkpoint)]
    run_tool('analysis/features.py', folder / 'images', *models, '--out', tmp_path / 'a')
    rows = rows_of(tmp_path / 'a')
    assert [len(row) for row in rows] == [6] * 4 and all(' ± ' in cell for row in rows for cell in row[2:])
    run_tool('analysis/features.py', folder / 'images', '--masks', folder / 'masks', *models, '--out', tmp_path / 'b')
    assert [len(row) for row in rows_of(tmp_path / 'b')] == [10] * 4


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere'], 'nowhere is no folder with images (.png, .jpg'),
    (['FOLDER'], 'is no folder with images (.png, .jpg'),
    (['FOLDER/images', '--masks', 'FOLDER/images'], '5 of 5 images in'),
    (['--masks', 'FOLDER/masks'], 'belongs to a folder of images; give it first'),
    (['FOLDER/images', '--demo-dir', 'nowhere'], 'run `make demo`'),
    (['FOLDER/images', '--out', 'FOLDER/images/0.jpg'], 'is a file, not a folder'),
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
    monkeypatch.setattr(features, 'save', lambda figure, path: seen.append(figure))
    measures = features._UNLABELLED + (features._PROBES if probes else [])
    results = {title: np.random.default_rng(0).random((3, 12, len(measures)))
               for title in ('ViT', 'LocAtViT', 'ViT + GAug', 'ViT + PRR')}
    features._draw(results, measures, tmp_path / 'a.png', 'Frozen features: a folder, 500 images')
    words = assert_legible(seen[0])
    assert ('Linear probe of patches' in words) == probes
    assert 'LocAtViT, mean of 3' in words and 'cosine similarity' in words
