"""DigitScenes: what fixes a pixel, what the splits share (nothing), and what happens to damaged files."""

import hashlib
import json

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS as PRETRAIN_DATASETS
from mmseg.registry import DATASETS as SEG_DATASETS
from PIL import Image

from mmlocat.datasets import DigitScenesClassification, DigitScenesSegmentation, prepare_digit_scenes
from mmlocat.datasets.digit_scenes import DigitScenesSpec
from mmlocat.datasets.digit_scenes.render import render_scene
from mmlocat.datasets.digit_scenes.sources import load_sources
from mmlocat.datasets.scenes import build
from mmlocat.datasets.scenes.spec import SPLITS
from tests.helpers.forked import Program

SMALL = DigitScenesSpec(classification=(160, 32, 32), segmentation=(32, 8, 9))


def test_splits_share_no_digit_and_no_photo_region():
    sources = load_sources(0)
    assert [len(sources[split].digits) for split in SPLITS] == [1198, 300, 299]
    from sklearn.datasets import load_digits, load_sample_images
    digits, labels = load_digits(return_X_y=True)
    every = sorted(zip(labels, map(bytes, np.round(digits * (255 / 16)).astype(np.uint8))))
    parts = [zip(sources[split].labels, map(bytes, sources[split].digits)) for split in SPLITS]
    assert sorted(digit for part in parts for digit in part) == every  # each of the 1,797 once
    for i, photo in enumerate(load_sample_images().images):
        assert np.array_equal(np.concatenate([sources[split].photos[i] for split in SPLITS], 1), photo)
    for split in SPLITS:  # stratified: every class has its share
        counts = np.bincount(sources[split].labels, minlength=10)
        assert counts.max() - counts.min() <= 7
    assert not np.array_equal(load_sources(1)['val'].digits, sources['val'].digits)


def test_a_seed_fixes_every_pixel(digit_scenes, tmp_path):
    sums = build.read_manifest(digit_scenes, 'DigitScenes')['sha256']
    again = prepare_digit_scenes(tmp_path / 'again', SMALL, progress=False)
    assert build.read_manifest(again, 'DigitScenes')['sha256'] == sums
    other = prepare_digit_scenes(
        tmp_path / 'other', DigitScenesSpec(seed=1, classification=(160, 32, 32), segmentation=(32, 8, 9)),
        progress=False)
    assert build.read_manifest(other, 'DigitScenes')['sha256'] != sums
    # The number that a change of the drawing code would change. Raise the VERSION of the specification along with it.
    # Of pixels, not of files: how PNG is compressed is a matter of the zlib at hand.
    digest = hashlib.sha256()
    for path in build.split_files(digit_scenes, 'segmentation', 'test', 9):
        digest.update(np.asarray(Image.open(path)).tobytes())
    assert digest.hexdigest() == '5ff48b532b3726931df5e9f7a5579a26ff8b1a40967634cd13a1870cf449d982'


def test_pixels_do_not_depend_on_workers_or_on_how_many_there_are(digit_scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(build, '_CHUNK', 7)
    monkeypatch.setattr(build.os, 'cpu_count', lambda: 3)
    root = prepare_digit_scenes(
        tmp_path / 'short', DigitScenesSpec(classification=(20, 1, 1), segmentation=(9, 1, 1)), progress=False)
    for path in ('classification/train/00019.png', 'segmentation/images/train/00008.png'):
        assert (root / path).read_bytes() == (digit_scenes / path).read_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_they_are_drawn_after_cuda_was_initialised_too(digit_scenes, tmp_path):
    """Its processes are forked, and a child can use CUDA no more."""
    assert torch.ones(2, device='cuda').sum().item() == 2
    root = prepare_digit_scenes(
        tmp_path / 'short', DigitScenesSpec(classification=(20, 1, 1), segmentation=(9, 1, 1)), progress=False)
    path = 'segmentation/images/train/00008.png'
    assert (root / path).read_bytes() == (digit_scenes / path).read_bytes()


def test_labels_cover_the_strokes():
    sources = load_sources(0)['train']
    seen = set()
    for i in range(60):
        image, label_map, labels = render_scene(sources, 36, 3, np.random.default_rng(i))
        assert image.shape == (36, 36, 3) and image.dtype == label_map.dtype == np.uint8
        assert 1 <= len(labels) <= 3
        # A later digit may cover an earlier one in part, never wholly.
        assert set(np.unique(label_map)) - {0} == {label + 1 for label in labels}
        ink, background = image[label_map > 0].mean(), image[label_map == 0].mean()
        assert ink > background
        seen.add(len(labels))
    assert seen == {1, 2, 3}


def test_classes_are_data_sets_of_both_libraries(digit_scenes):
    init_default_scope('mmpretrain')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    data = PRETRAIN_DATASETS.build(
        dict(type='DigitScenesClassification', split='val', data_root=str(digit_scenes), pipeline=pipeline))
    assert len(data) == 32 and len(data.metainfo['classes']) == 10
    assert data[3]['inputs'].shape == (3, 24, 24) and 0 <= int(data[3]['data_samples'].gt_label) < 10
    assert len({int(data[i]['data_samples'].gt_label) for i in range(32)}) > 5

    init_default_scope('mmseg')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    data = SEG_DATASETS.build(
        dict(type='DigitScenesSegmentation', split='test', data_root=str(digit_scenes), pipeline=pipeline))
    assert len(data) == 9 and len(data.metainfo['classes']) == len(data.metainfo['palette']) == 11
    sample = data[0]
    assert sample['inputs'].shape == (3, 36, 36)
    labels = sample['data_samples'].gt_sem_seg.data
    assert labels.shape == (1, 36, 36) and 0 < labels.max() <= 10


def test_damage_is_found_by_checksum(tmp_path):
    root = prepare_digit_scenes(tmp_path / 'd', SMALL, progress=False)
    victim = root / 'segmentation' / 'annotations' / 'val' / '00003.png'
    Image.fromarray(np.zeros((36, 36), np.uint8)).save(victim)
    DigitScenesSegmentation('train', str(root))  # another split is untouched
    with pytest.raises(RuntimeError, match=r'segmentation val files in .* have sha256 .* delete the folder'):
        DigitScenesSegmentation('val', str(root))
    victim.unlink()
    with pytest.raises(RuntimeError, match=r'00003.png is missing; delete'):
        DigitScenesSegmentation('val', str(root))
    (root / 'manifest.json').write_text('{')
    with pytest.raises(RuntimeError, match='has no readable manifest.json .*Expecting'):
        DigitScenesClassification('val', str(root))


def test_bad_arguments(digit_scenes, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown split 'dev' of DigitScenes; choose one of train, val, test"):
        DigitScenesClassification('dev')
    with pytest.raises(ValueError, match='holds DigitScenes made from .* give another data_root'):
        prepare_digit_scenes(digit_scenes, DigitScenesSpec(seed=5))
    with pytest.raises(ValueError, match='holds DigitScenes of seed 0, not 7'):
        DigitScenesClassification('train', str(digit_scenes), seed=7)
    assert DigitScenesSpec(seed=1).default_root() != DigitScenesSpec().default_root()
    (tmp_path / 'notes.txt').touch()
    monkeypatch.setenv('MMLOCAT_DATA', str(tmp_path / 'notes.txt'))
    with pytest.raises(ValueError, match='notes.txt is a file; name a folder for DigitScenes by MMLOCAT_DATA'):
        DigitScenesClassification()


def test_a_folder_of_the_users_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').touch()
    with pytest.raises(RuntimeError, match='is not a DigitScenes folder: .* give data_root a name that does not exist'):
        DigitScenesClassification('train', str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_an_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def fail(root, spec, progress):
        (root / 'half').mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, '_generate', fail)
    with pytest.raises(KeyboardInterrupt):
        prepare_digit_scenes(tmp_path / 'data', SMALL, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ['data.lock']


def test_two_processes_at_once_make_it_once(tmp_path):
    code = ('import sys; from mmlocat.datasets.digit_scenes import *;'
            'print(prepare_digit_scenes(sys.argv[1], DigitScenesSpec(classification=(300, 5, 5), '
            'segmentation=(5, 5, 5)), progress=False))')
    for program in [Program('-c', code, tmp_path / 'data') for _ in range(2)]:
        run = program.finish()
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip().endswith(str(tmp_path / 'data'))
    manifest = json.loads((tmp_path / 'data' / 'manifest.json').read_text())
    assert manifest['spec']['classification'] == [300, 5, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'data.lock']
