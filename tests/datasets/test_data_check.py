"""The check of data before a training: what it says of each fault, and that it says nothing of sound data."""

import re
import runpy

import cv2
import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets.check import check_data
from tests.conftest import ROOT
from tests.helpers.layouts import LEAVES, MAKERS, ROOTS, errors_of, leaf, place, quarters, write_image, write_label

OFFICIAL = {'ade20k': (20210, 2000), 'pascal_context59': (4998, 5105), 'coco_stuff164k': (118287, 5000),
            'imagenet': (1281167, 50000), 'mini-imagenet': (None, None)}
tool = runpy.run_path(str(ROOT / 'tools' / 'data' / 'check.py'))['main']


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('dataset', sorted(MAKERS))
def test_a_clean_tree_passes_with_a_remark_on_its_size(dataset, capsys):
    _, config = place(dataset)
    train, val = check_data(config)  # the test split is the val split, and comes once
    assert (train.loaders, val.loaders) == (['train'], ['val', 'test'])
    per_split = 100 if dataset == 'mini-imagenet' else 4
    for report, official in zip((train, val), OFFICIAL[dataset]):
        assert report.errors == [] and report.images == report.read == per_split and report.official == official
        assert report.labels == (None if 'imagenet' in dataset else 4)
        remarks = [] if official is None else [f'4 images, not the {official:,} of .*; well if a subset is meant']
        assert len(report.remarks) == len(remarks)
        assert all(re.fullmatch(text, found.message) for text, found in zip(remarks, report.remarks))
    assert tool([leaf(LEAVES[dataset]), '--all']) == 0
    printed = capsys.readouterr().out
    assert printed.endswith('0 errors, 0 remarks.\n' if dataset == 'mini-imagenet' else '0 errors, 2 remarks.\n')
    assert 'val, test: ' in printed and f'{per_split} opened' in printed


@pytest.mark.parametrize('dataset', sorted(MAKERS))
def test_missing_data_come_with_the_command_that_brings_them(dataset, capsys):
    assert tool([leaf(LEAVES[dataset]), '--quick']) == 1
    printed = capsys.readouterr().out
    assert f'error: data root {ROOTS[dataset]} does not exist\n    to mend it: ' in printed
    assert printed.endswith('2 errors, 0 remarks.\n')


def damage_bytes(path):
    path.write_bytes(path.read_bytes()[:-200])


ADE = ROOTS['ade20k']
IMAGES, LABELS = f'{ADE}/images/training', f'{ADE}/annotations/training'
FIRST = 'ADE_train_00000001'


def no_folder(name):
    def damage(root):
        (root / name).rename(root / 'elsewhere')
    return damage


def without_images(root):
    for path in (root / 'images' / 'training').iterdir():
        path.unlink()


def image_of_another_suffix(root):
    path = root / 'images' / 'training' / f'{FIRST}.jpg'
    path.rename(path.with_suffix('.png'))
    (root / 'images' / 'training' / 'notes.txt').write_text('no image')


def wide_label(root):
    Image.fromarray(np.full((32, 40), 300, np.uint16)).save(root / 'annotations' / 'training' / f'{FIRST}.png')


def label(name, image):
    def damage(root):
        path = root / 'annotations' / 'training' / f'{name}.png'
        image(path)
    return damage


@pytest.mark.parametrize(('damage', 'message'), [
    (no_folder('images/training'), f'folder of images {IMAGES} does not exist'),
    (no_folder('annotations/training'), f'folder of labels {LABELS} does not exist'),
    (without_images, f'no file in {IMAGES} ends in .jpg'),
    (label(FIRST, lambda path: path.unlink()),
     f'images whose label is missing in {LABELS}: 1 of 4 ({FIRST}.png)'),
    (label('ADE_train_00000009', lambda path: write_label(path, (0, 1, 2, 3))),
     f'labels whose image is missing in {IMAGES}: 1 of 5 (ADE_train_00000009.png)'),
    (label(FIRST, lambda path: path.rename(path.with_suffix('.bmp'))),
     f'labels that do not end in .png: 1 of 4 in {LABELS} ({FIRST}.bmp)'),
    (label(FIRST, lambda path: write_label(path, (0, 151, 200, 255))),
     f'labels with values outside 0 to 150 and 255: 1 of 4 opened ({LABELS}/{FIRST}.png: 151, 200)'),
    (label(FIRST, lambda path: write_label(path, (151, 152, 153, 154))),
     f'labels with values outside 0 to 150 and 255: 1 of 4 opened ({LABELS}/{FIRST}.png: 151, 152, 153, 154)'),
    (wide_label, f'labels with values outside 0 to 150 and 255: 1 of 4 opened ({LABELS}/{FIRST}.png: 300)'),
    (label(FIRST, lambda path: write_label(path, (0, 1, 2, 3), (32, 32))),
     f'labels of another size than their image: 1 of 4 opened ({LABELS}/{FIRST}.png: 32 x 32, image 40 x 32)'),
    (label(FIRST, lambda path: write_image(path, format='PNG')),
     f'labels that are no maps of one whole number a pixel: 1 of 4 opened ({LABELS}/{FIRST}.png: mode RGB)'),
    (label(FIRST, lambda path: path.write_bytes(b'')),
     f'labels that cannot be read: 1 of 4 opened ({LABELS}/{FIRST}.png: empty file)'),
    (label(FIRST, lambda path: path.write_bytes(b'<html>not found</html>')),
     f'labels that cannot be read: 1 of 4 opened ({LABELS}/{FIRST}.png: no image)'),
])
def test_each_fault_of_a_segmentation_tree_is_named(damage, message, capsys):
    root, config = place('ade20k')
    damage(root)
    reports = check_data(config)
    assert errors_of(reports) == [f'train: {message}']
    error, = reports[0].errors
    assert error.fix.startswith(
        'mkdir -p data/ade && wget -c http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip')
    assert tool([leaf('vit_linear_ade20k')]) == 1
    assert f'  error: {message}\n    to mend it: {error.fix}\n' in capsys.readouterr().out


def test_an_image_of_another_suffix_is_named_together_with_its_label():
    root, config = place('ade20k')
    image_of_another_suffix(root)
    assert errors_of(check_data(config)) == [
        f'train: images that do not end in .jpg and are left out: 1 in {IMAGES} ({FIRST}.png)',
        f'train: labels whose image is missing in {IMAGES}: 1 of 4 ({FIRST}.png)']


def test_a_truncated_image_is_found_where_opencv_would_fill_it_with_grey():
    root, config = place('ade20k')
    path = root / 'images' / 'training' / f'{FIRST}.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(path)
    damage_bytes(path)
    assert cv2.imread(str(path)).shape == (32, 40, 3)
    error, = errors_of(check_data(config))
    assert error.startswith(f'train: images that cannot be read: 1 of 4 opened ({IMAGES}/{FIRST}.jpg: ')
    assert 'truncated' in error


def test_many_faults_are_shown_by_three_examples():
    root, config = place('ade20k')
    for path in (root / 'annotations' / 'training').iterdir():
        path.unlink()
    message = (f'train: images whose label is missing in {LABELS}: 4 of 4 ({FIRST}.png, ADE_train_00000002.png, '
               'ADE_train_00000003.png and 1 more)')
    assert errors_of(check_data(config)) == [message]


def test_labels_with_a_palette_hold_indices():
    root, config = place('ade20k')
    for path, values in zip(sorted((root / 'annotations' / 'training').iterdir()), ((0, 1, 150, 255), (0, 1, 151, 3))):
        image = Image.fromarray(quarters(values))
        image.putpalette([i % 256 for i in range(768)])
        assert image.mode == 'P'
        image.save(path)
    message, = errors_of(check_data(config))
    assert message.endswith('1 of 4 opened (data/ade/ADEChallengeData2016/annotations/training/ADE_train_00000002.png: '
                            '151)')


def test_a_sample_is_the_same_every_time_and_all_finds_what_it_missed(capsys):
    root, _ = place('ade20k')
    config = leaf('vit_linear_ade20k')
    for path in sorted((root / 'annotations' / 'training').iterdir())[1:]:
        write_label(path, (151, 151, 151, 151))
    codes = {tool([config, '--sample', '1']) for _ in range(3)}
    lines = [line for line in capsys.readouterr().out.splitlines() if 'values' in line]
    assert len(codes) == 1 and len(set(lines)) == (1 if codes == {1} else 0)
    assert tool([config, '--all']) == 1
    captured = capsys.readouterr()
    assert 'values outside 0 to 150 and 255: 3 of 4 opened' in captured.out and '100%' in captured.err
    with pytest.raises(SystemExit):
        tool([config, '--all', '--quick'])


def test_options_change_what_is_checked(tmp_path, capsys):
    root, _ = place('ade20k')
    root.rename(tmp_path / 'moved')
    places = [f'{split}_dataloader.dataset.data_root={tmp_path / "moved"}' for split in ('train', 'val', 'test')]
    assert tool([leaf('vit_linear_ade20k'), '--cfg-options', *places]) == 0
    assert tool([leaf('vit_linear_ade20k'), '--cfg-options', *places[:2]]) == 1
    assert f'test: ADE20KDataset in {ADE}\n  error: data root' in capsys.readouterr().out


CONTEXT, STUFF = ROOTS['pascal_context59'], ROOTS['coco_stuff164k']


def test_faults_of_a_split_file():
    root, config = place('pascal_context59')
    split_file = root / 'ImageSets' / 'SegmentationContext' / 'train.txt'
    split_file.write_text(split_file.read_text() + '2008_999999\n')
    report = check_data(config, ['train'])[0]
    assert errors_of([report]) == [
        f'train: images named in {CONTEXT}/ImageSets/SegmentationContext/train.txt that do not exist: 1 of 5 '
        '(2008_999999.jpg)']
    assert report.errors[0].fix == (
        'mkdir -p data && wget -c http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar && '
        'tar -xf VOCtrainval_03-May-2010.tar -C data')
    split_file.write_text('')
    assert errors_of(check_data(config, ['train'])) == [
        f'train: split file {CONTEXT}/ImageSets/SegmentationContext/train.txt names no image']
    split_file.unlink()
    report = check_data(config, ['train'])[0]
    assert errors_of([report]) == [
        f'train: split file {CONTEXT}/ImageSets/SegmentationContext/train.txt does not exist']
    assert report.errors[0].fix.endswith(
        'pascal_context.py data/VOCdevkit data/VOCdevkit/VOC2010/trainval_merged.json  # needs the Detail API, '
        'https://github.com/zhanghang1989/detail-api')


def test_images_that_a_split_file_names_by_another_suffix_and_labels_without_any():
    root, config = place('pascal_context59')
    image = root / 'JPEGImages' / '2008_000002.jpg'
    image.rename(image.with_suffix('.png'))
    assert errors_of(check_data(config, ['train'])) == [
        f'train: images named in {CONTEXT}/ImageSets/SegmentationContext/train.txt that do not end in .jpg: 1 of 4 '
        '(2008_000002.png)',
        f'train: labels whose image is missing in {CONTEXT}/JPEGImages: 1 of 8 (2008_000002.png)']


def test_a_data_set_that_asserts_its_folder_without_a_word_is_explained():
    root, config = place('pascal_context59')
    (root / 'JPEGImages').rename(root / 'images')
    assert errors_of(check_data(config, ['val'])) == [f'val: folder of images {CONTEXT}/JPEGImages does not exist']


def test_context_has_59_classes_and_a_zero_label():
    root, config = place('pascal_context59')
    write_label(root / 'SegmentationClassContext' / '2008_000009.png', (0, 59, 60, 255))
    assert errors_of(check_data(config)) == [
        'val, test: labels with values outside 0 to 59 and 255: 1 of 4 opened '
        f'({CONTEXT}/SegmentationClassContext/2008_000009.png: 60)']


def test_coco_stuff_wants_converted_labels():
    root, config = place('coco_stuff164k')
    folder = root / 'annotations' / 'train2017'
    write_label(folder / '000000000009_labelTrainIds.png', (0, 170, 171, 255))
    assert errors_of(check_data(config)) == [
        'train: labels with values outside 0 to 170 and 255: 1 of 4 opened '
        f'({STUFF}/annotations/train2017/000000000009_labelTrainIds.png: 171)']
    for path in folder.glob('*_labelTrainIds.png'):
        path.unlink()
    report = check_data(config, ['train'])[0]
    assert errors_of([report]) == [
        f'train: labels that do not end in _labelTrainIds.png: 4 of 4 in {STUFF}/annotations/train2017 '
        '(000000000009.png, 000000000025.png, 000000000030.png and 1 more)']
    assert report.errors[0].fix.endswith('coco_stuff164k.py data/coco_stuff164k --nproc 8')
    assert report.labels == 0 and report.images == 4


