"""The check of data before a training: what it says of each fault, and that it says nothing of sound data."""

import re
import runpy

import cv2
import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets.check import check_data
from tests.conftest import ROOT
from tests.helpers.layouts import LEAVES, ROOTS, errors_of, leaf, place, quarters, write_image, write_label

OFFICIAL = {'ade20k': (20210, 2000), 'pascal_context59': (4998, 5105), 'coco_stuff164k': (118287, 5000),
            'imagenet': (1281167, 50000), 'mini-imagenet': (None, None)}
tool = runpy.run_path(str(ROOT / 'tools' / 'data' / 'check.py'))['main']


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('dataset', sorted(OFFICIAL))
def test_a_clean_tree_passes_with_a_remark_on_its_size(dataset, capsys):
    _, config = place(dataset)
    train, val = check_data(config)  # the test split is the val split, and comes once
    assert (train.loaders, val.loaders) == (['train'], ['val', 'test'])
    per_split = 100 if dataset == 'mini-imagenet' else 4
    for report, official in zip((train, val), OFFICIAL[dataset]):
        assert report.errors == [] and report.images == report.read == per_split and report.official == official
        remarks = [] if official is None else [f'4 images, not the {official:,} of .*; well if a subset is meant']
        assert len(report.remarks) == len(remarks)
        assert all(re.fullmatch(text, found.message) for text, found in zip(remarks, report.remarks))
    assert tool([leaf(LEAVES[dataset]), '--all']) == 0
    printed = capsys.readouterr().out
    assert printed.endswith('0 errors, 0 remarks.\n' if dataset == 'mini-imagenet' else '0 errors, 2 remarks.\n')
    assert 'val, test: ' in printed and f'{per_split} opened' in printed


@pytest.mark.parametrize('dataset', sorted(OFFICIAL))
def test_missing_data_come_with_the_command_that_brings_them(dataset, capsys):
    assert tool([leaf(LEAVES[dataset]), '--quick']) == 1
    printed = capsys.readouterr().out
    assert f'error: data root {ROOTS[dataset]} does not exist\n    to mend it: ' in printed
    assert printed.endswith('2 errors, 0 remarks.\n')


def test_the_memory_of_retrieval_is_checked_part_by_part():
    root, config = place('voc2012')
    queries, train, aug = check_data(config)
    assert [queries.loaders, train.loaders, aug.loaders] == [['test'], ['memory'], ['memory']]
    assert [report.official for report in (queries, train, aug)] == [1449, 1464, 9118]
    assert all(report.errors == [] and report.images == report.read == 4 for report in (queries, train, aug))
    (root / 'SegmentationClassAug' / '2008_000003.png').unlink()
    error, = check_data(config)[2].errors
    assert 'labels that do not exist: 1 of 4' in error.message and 'section Pascal VOC 2012' in error.fix


def damage_bytes(path):
    path.write_bytes(path.read_bytes()[:-200])


ADE = ROOTS['ade20k']
IMAGES, LABELS = f'{ADE}/images/training', f'{ADE}/annotations/training'
FIRST = 'ADE_train_00000001'
LEFT_OUT = 'image files that are left out (of another suffix, or labels without an image)'


def no_folder(name):
    return lambda root: (root / name).rename(root / 'elsewhere')


def without_images(root):
    for path in (root / 'images' / 'training').iterdir():
        path.unlink()


def image_of_another_suffix(root):
    path = root / 'images' / 'training' / f'{FIRST}.jpg'
    path.rename(path.with_suffix('.png'))
    (root / 'images' / 'training' / 'notes.txt').write_text('no image')


def wide(path):
    Image.fromarray(np.full((32, 40), 300, np.uint16)).save(path)


def label(change, name=FIRST):
    return lambda root: change(root / 'annotations' / 'training' / f'{name}.png')


@pytest.mark.parametrize(('damage', 'message'), [
    (no_folder('images/training'), "ADE20KDataset cannot list its files (data_prefix={'img_path': "
     f"'{IMAGES}', 'seg_map_path': '{LABELS}'}}): FileNotFoundError: [Errno 2] No such file or directory: '{IMAGES}'"),
    (no_folder('annotations/training'), f'labels that do not exist: 4 of 4 ({LABELS}/{FIRST}.png, '
     f'{LABELS}/ADE_train_00000002.png, {LABELS}/ADE_train_00000003.png and 1 more)'),
    (without_images, f"ADE20KDataset cannot list its files (data_prefix={{'img_path': '{IMAGES}', 'seg_map_path': "
     f"'{LABELS}'}}): ValueError: no image is there"),
    (image_of_another_suffix, f'{LEFT_OUT}: 2 of 9 ({LABELS}/{FIRST}.png, {IMAGES}/{FIRST}.png)'),
    (label(lambda path: path.unlink()), f'labels that do not exist: 1 of 4 ({LABELS}/{FIRST}.png)'),
    (label(lambda path: write_label(path, (0, 1, 2, 3)), 'ADE_train_00000009'),
     f'{LEFT_OUT}: 1 of 9 ({LABELS}/ADE_train_00000009.png)'),
    (label(lambda path: path.rename(path.with_suffix('.bmp'))),
     f'labels that do not exist: 1 of 4 ({LABELS}/{FIRST}.png)'),
    (label(lambda path: write_label(path, (0, 151, 200, 255))),
     f'labels with values outside 0 to 150 and 255: 1 of 4 ({LABELS}/{FIRST}.png: 151, 200)'),
    (label(wide), f'labels with values outside 0 to 150 and 255: 1 of 4 ({LABELS}/{FIRST}.png: 300)'),
    (label(lambda path: write_label(path, (0, 1, 2, 3), (32, 32))),
     f'labels of another size than their image: 1 of 4 ({LABELS}/{FIRST}.png: 32 x 32, image 40 x 32)'),
    (label(lambda path: write_image(path, format='PNG')),
     f'labels that are no maps of one whole number a pixel: 1 of 4 ({LABELS}/{FIRST}.png: mode RGB)'),
    (label(lambda path: path.write_bytes(b'')),
     f'labels that cannot be read: 1 of 4 ({LABELS}/{FIRST}.png: empty file)'),
    (label(lambda path: path.write_bytes(b'<html>not found</html>')),
     f'labels that cannot be read: 1 of 4 ({LABELS}/{FIRST}.png: no image)'),
])
def test_each_fault_of_a_segmentation_tree_is_named(damage, message, capsys):
    root, config = place('ade20k')
    damage(root)
    reports = check_data(config)
    assert errors_of(reports) == [f'train: {message}']
    error, = reports[0].errors
    assert error.fix == 'docs/data.md, section ADE20K, has the layout and the commands that fetch the data'
    assert tool([leaf('vit_linear_ade20k')]) == 1
    assert f'  error: {message}\n    to mend it: {error.fix}\n' in capsys.readouterr().out


def test_a_truncated_image_is_found_where_opencv_would_fill_it_with_grey():
    root, config = place('ade20k')
    path = root / 'images' / 'training' / f'{FIRST}.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(path)
    damage_bytes(path)
    assert cv2.imread(str(path)).shape == (32, 40, 3)
    error, = errors_of(check_data(config))
    assert error.startswith(f'train: images that cannot be read: 1 of 4 ({IMAGES}/{FIRST}.jpg: ')
    assert 'truncated' in error


def test_labels_with_a_palette_hold_indices():
    root, config = place('ade20k')
    for path, values in zip(sorted((root / 'annotations' / 'training').iterdir()), ((0, 1, 150, 255), (0, 1, 151, 3))):
        image = Image.fromarray(quarters(values))
        image.putpalette([i % 256 for i in range(768)])
        assert image.mode == 'P'
        image.save(path)
    message, = errors_of(check_data(config))
    assert message.endswith('1 of 4 (data/ade/ADEChallengeData2016/annotations/training/ADE_train_00000002.png: '
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
    assert 'values outside 0 to 150 and 255: 3 of 4' in captured.out and '100%' in captured.err
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
        f'train: images that do not exist: 1 of 5 ({CONTEXT}/JPEGImages/2008_999999.jpg)',
        f'train: labels that do not exist: 1 of 5 ({CONTEXT}/SegmentationClassContext/2008_999999.png)']
    assert report.errors[0].fix.startswith('docs/data.md, section Pascal Context, ')
    split_file.write_text('')
    error, = errors_of(check_data(config, ['train']))
    assert 'SegmentationContext/train.txt' in error and error.endswith('ValueError: no image is there')
    split_file.unlink()
    error, = errors_of(check_data(config, ['train']))
    assert error.endswith('ImageSets/SegmentationContext/train.txt')


def test_a_data_set_that_asserts_its_folder_without_a_word_is_explained():
    root, config = place('pascal_context59')
    (root / 'JPEGImages').rename(root / 'images')
    error, = errors_of(check_data(config, ['val']))
    assert error.startswith('val: PascalContextDataset59 cannot list its files (ann_file=') and 'JPEGImages' in error


def test_context_has_59_classes_and_a_zero_label():
    root, config = place('pascal_context59')
    write_label(root / 'SegmentationClassContext' / '2008_000009.png', (0, 59, 60, 255))
    assert errors_of(check_data(config)) == [
        'val, test: labels with values outside 0 to 59 and 255: 1 of 4 '
        f'({CONTEXT}/SegmentationClassContext/2008_000009.png: 60)']


def test_coco_stuff_wants_converted_labels():
    root, config = place('coco_stuff164k')
    folder = root / 'annotations' / 'train2017'
    write_label(folder / '000000000009_labelTrainIds.png', (0, 170, 171, 255))
    assert errors_of(check_data(config)) == [
        'train: labels with values outside 0 to 170 and 255: 1 of 4 '
        f'({STUFF}/annotations/train2017/000000000009_labelTrainIds.png: 171)']
    for path in folder.glob('*_labelTrainIds.png'):
        path.unlink()
    report = check_data(config, ['train'])[0]
    assert errors_of([report]) == [
        f'train: labels that do not exist: 4 of 4 ({STUFF}/annotations/train2017/000000000009_labelTrainIds.png, '
        f'{STUFF}/annotations/train2017/000000000025_labelTrainIds.png, '
        f'{STUFF}/annotations/train2017/000000000030_labelTrainIds.png and 1 more)']


def test_coco_stuff_10k_is_not_taken_for_164k():
    _, config = place('coco_stuff164k')
    train = config.train_dataloader.dataset
    train.reduce_zero_label = True
    report, = check_data(config, ['train'])
    assert report.findings == [] and report.official is None
    train.data_root = 'nowhere'
    assert '164k' not in check_data(config, ['train'])[0].errors[0].fix
