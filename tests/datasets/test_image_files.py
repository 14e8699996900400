"""Image files of every kind through the libraries' pipelines, against what they show, and labels that do not fit."""

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmseg.datasets import BaseSegDataset
from PIL import Image, ImageOps

from mmlocat.config import load_config
from mmlocat.datasets.check import check_data
from mmlocat.datasets.guard import SampleGuard, guard_samples
from mmlocat.training.cli import training_job
from tests.conftest import ROOT
from tests.helpers.layouts import errors_of, nano_config, place

HEIGHT, WIDTH = 36, 24
QUARTERS = np.array([[(200, 100, 50), (10, 220, 30)], [(30, 60, 240), (128, 128, 128)]], np.uint8)
PIXELS = QUARTERS.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
ALPHA = np.array([[0, 255], [128, 255]], np.uint8).repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
JPEG = dict(quality=100, subsampling=0)
ORIENTATION = 0x0112


def grey(pixels):
    return np.asarray(Image.fromarray(pixels).convert('L'))[..., None].repeat(3, 2)


def save(path, mode=None, format='PNG', orientation=None, **options):
    image = Image.fromarray(PIXELS)
    if orientation:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options['exif'] = exif
    (image.convert(mode) if mode else image).save(path, format, **options)


def save_16_bit(path, pixels):
    import cv2
    cv2.imwrite(str(path), pixels[..., ::-1].astype(np.uint16) * 257 if pixels.ndim == 3 else
                pixels.astype(np.uint16) * 257)


def turned(orientation):
    """What a viewer shows of a file of this EXIF orientation: Pillow's idea of it, not the loader's."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(PIXELS)
    image.getexif()[ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


# What to write by which suffix, and what it shows.
KINDS = {
    'RGB PNG': ('.png', lambda path: save(path), PIXELS),
    'grey PNG': ('.png', lambda path: save(path, 'L'), grey(PIXELS)),
    'grey JPEG': ('.jpg', lambda path: save(path, 'L', 'JPEG', **JPEG), grey(PIXELS)),
    'palette PNG': ('.png', lambda path: Image.fromarray(PIXELS).quantize(4).save(path, 'PNG'), PIXELS),
    '16-bit grey PNG': ('.png', lambda path: save_16_bit(path, grey(PIXELS)[..., 0]), grey(PIXELS)),
    '16-bit RGB PNG': ('.png', lambda path: save_16_bit(path, PIXELS), PIXELS),
    '16-bit grey TIFF': ('.tif', lambda path: save_16_bit(path, grey(PIXELS)[..., 0]), grey(PIXELS)),
    'RGBA PNG': ('.png', lambda path: Image.fromarray(np.dstack([PIXELS, ALPHA])).save(path, 'PNG'), PIXELS),
    'grey PNG with alpha': ('.png', lambda path: Image.fromarray(np.dstack([grey(PIXELS)[..., 0], ALPHA])).save(
        path, 'PNG'), grey(PIXELS)),
    'CMYK JPEG': ('.jpg', lambda path: save(path, 'CMYK', 'JPEG', **JPEG), PIXELS),
    'CMYK TIFF': ('.tif', lambda path: save(path, 'CMYK', 'TIFF'), PIXELS),
    'EXIF PNG': ('.png', lambda path: save(path, orientation=6), turned(6)),
    **{f'EXIF {i}': ('.jpg', lambda path, i=i: save(path, None, 'JPEG', orientation=i, **JPEG), turned(i))
       for i in range(1, 9)},
}
CLASSES = ('a', 'b', 'c', 'd')
LABEL = np.array([[0, 1], [2, 3]], np.uint8)


@pytest.fixture(scope='module')
def model():
    """The demo's segmentor, whose own preprocessor takes the files."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(load_config(str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py')).model)


def segmentation(folder, suffix, label, *steps, **loading):
    init_default_scope('mmseg')
    (folder / 'labels').mkdir()
    Image.fromarray(label).save(folder / 'labels' / 'one.png')
    return dict(
        type='BaseSegDataset', data_root=str(folder), metainfo=dict(classes=CLASSES), img_suffix=suffix,
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        pipeline=[dict(type='LoadImageFromFile', **loading), *steps, dict(type='LoadAnnotations'),
                  dict(type='PackSegInputs')])


def written(folder, kind):
    suffix, write, shown = KINDS[kind]
    (folder / 'images').mkdir()
    write(folder / 'images' / f'one{suffix}')
    return suffix, shown


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_is_loaded_as_it_looks_and_goes_through_a_segmentor(kind, tmp_path, model, figure):
    suffix, shown = written(tmp_path, kind)
    label = LABEL.repeat(shown.shape[0] // 2, 0).repeat(shown.shape[1] // 2, 1)
    dataset = DATASETS.build(segmentation(tmp_path, suffix, label))
    assert guard_samples(dataset, 4) == 2
    sample = dataset[0]
    loaded = sample['inputs'].numpy().transpose(1, 2, 0)[..., ::-1].astype(int)
    assert loaded.shape == shown.shape
    # JPEG alters a colour by a little where quarters meet, CMYK by rounding.
    assert np.abs(loaded - shown)[4:14, 4:8].max() <= 3 and np.abs(loaded - shown).mean() < 2
    result, = model.eval().test_step(pseudo_collate([sample]))
    assert result.seg_logits.data.shape[1:] == shown.shape[:2] and result.seg_logits.data.isfinite().all()
    assert torch.equal(result.gt_sem_seg.data[0], torch.from_numpy(label).long())
    losses = model.train().loss(**model.data_preprocessor(pseudo_collate([sample]), True))
    assert losses['decode.loss_ce'].isfinite()
    figure('Any input', 'kinds of image files loaded as they look (depth, alpha, CMYK, EXIF)', len(KINDS))


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_goes_through_a_classifiers_pipeline(kind, tmp_path):
    suffix, shown = written(tmp_path, kind)
    (tmp_path / 'list.txt').write_text(f'one{suffix} 2\n')
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(dict(
        type='CustomDataset', data_root=str(tmp_path), data_prefix='images', ann_file='list.txt',
        metainfo=dict(classes=CLASSES), pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
    assert guard_samples(dataset, 4) == 1
    loaded = dataset[0]['inputs'].numpy().transpose(1, 2, 0)[..., ::-1].astype(int)
    assert loaded.shape == shown.shape and np.abs(loaded - shown).mean() < 2
    assert dataset[0]['data_samples'].gt_label.item() == 2


def test_pillow_as_decoder_makes_16_bit_grey_white(tmp_path):
    """A fault of mmcv's: why the configs here decode with OpenCV, mmcv's default."""
    suffix, _ = written(tmp_path, '16-bit grey PNG')
    label = LABEL.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
    dataset = DATASETS.build(segmentation(tmp_path, suffix, label, imdecode_backend='pillow'))
    assert dataset[0]['inputs'].min() == 255
    text = ''.join(path.read_text() for path in (ROOT / 'configs').rglob('*.py'))
    assert 'imdecode_backend' not in text and 'LoadImageFromFile' in text


@pytest.mark.parametrize('steps', [(), (dict(type='Resize', scale=(48, 48), keep_ratio=True), )])
def test_a_label_of_the_stored_pixels_of_a_turned_image_is_refused_and_can_be_kept(steps, tmp_path):
    suffix, _ = written(tmp_path, 'EXIF 6')
    label = LABEL.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
    settings = segmentation(tmp_path, suffix, label, *steps)
    message = (f'one.png: 24 x 36 px, but its image {tmp_path}/images/one.jpg has 36 x 24; make .* anew, or, .*EXIF .*'
               "color_type='color_ignore_orientation'")
    dataset = DATASETS.build(settings)
    guard_samples(dataset, 4)
    with pytest.raises(ValueError, match=message):
        dataset[0]
    config = Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=settings)))
    error, = check_data(config, ['train'])[0].errors
    assert 'EXIF orientation turns when they are loaded' in error.message and '(36' not in error.message
    assert 'color_ignore_orientation' in error.fix

    settings['pipeline'][0]['color_type'] = 'color_ignore_orientation'
    dataset = DATASETS.build(settings)
    guard_samples(dataset, 4)
    sample = dataset[0]
    assert torch.equal(sample['data_samples'].gt_sem_seg.data[0], torch.from_numpy(label).long())
    config.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    for loader, kind in (('LoadImageFromFile', 'BaseSegDataset'), ('mmcv.LoadImageFromFile', 'mmseg.BaseSegDataset'),
                         (LoadImageFromFile, BaseSegDataset)):  # a type as text, with its scope, as a class
        config.train_dataloader.dataset.type = kind
        config.train_dataloader.dataset.pipeline[0].type = loader
        assert errors_of(check_data(config, ['train'])) == []


def test_a_label_of_a_turned_image_as_it_is_shown_passes_the_check(tmp_path):
    suffix, shown = written(tmp_path, 'EXIF 8')
    label = LABEL.repeat(shown.shape[0] // 2, 0).repeat(shown.shape[1] // 2, 1)
    settings = segmentation(tmp_path, suffix, label)
    assert errors_of(check_data(Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=settings))))) == []


def label_of(change):
    label = LABEL.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
    return change(label)


LABELS = {
    'beyond the classes': (lambda label: label + 2, 'one.png: label values 4, 5, but the model predicts 4 classes, 0 '
                                                    'to 3; correct the labels, num_classes'),
    'of colours': (lambda label: label[..., None].repeat(3, 2), r'has one channel, got shape \(36, 24, 3\)'),
    'too small': (lambda label: label[:-1], 'one.png: 24 x 35 px, but its image .*one.png has 24 x 36; make the label'),
}


@pytest.mark.parametrize('fault', LABELS)
def test_a_wrong_label_names_its_file(fault, tmp_path):
    change, message = LABELS[fault]
    suffix, _ = written(tmp_path, 'RGB PNG')
    dataset = DATASETS.build(segmentation(tmp_path, suffix, label_of(change)))
    wrapped = DATASETS.build(dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[dataset]),
                                  times=2))
    guard_samples(wrapped, 4)
    with pytest.raises(ValueError, match=message) as caught:
        wrapped[1]
    assert '\n' not in str(caught.value)


def test_an_image_of_nan_and_a_label_out_of_range_name_their_file(tmp_path):
    guard = SampleGuard(10)
    image = np.zeros((4, 4, 3), np.float32)
    assert guard(dict(img=image, img_path='a.npy', gt_label=9))['gt_label'] == 9
    with pytest.raises(ValueError, match='a.npy: label values 10, but the model predicts 10 classes, 0 to 9'):
        guard(dict(img=image, img_path='a.npy', gt_label=10))
    assert guard(dict(img_path='a.npy', gt_label=np.array([], np.int64)))  # of several labels an image may have none
    with pytest.raises(ValueError, match='a.npy: label values -1, 12, but the model predicts 10 classes'):
        guard(dict(img_path='a.npy', gt_label=[12, 3, -1]))
    image[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match='a.npy: the image holds NaN or infinity; make the file anew'):
        guard(dict(img=image, img_path='a.npy'))


@pytest.mark.parametrize('workers', [0, 1])
def test_a_training_stops_at_a_label_beyond_the_classes_with_its_file(workers, tmp_path, monkeypatch):
    """What the quick look did not open: without the guard an IndexError of the loss, 'Target 170 is out of bounds'."""
    monkeypatch.chdir(tmp_path)
    root, _ = place('ade20k')
    for path in (root / 'annotations' / 'training').iterdir():
        Image.fromarray(np.full((32, 40), 171, np.uint8)).save(path)
    job = training_job([
        str(nano_config(tmp_path, 'vit_linear_ade20k')), '--work-dir', str(tmp_path / 'w'), '--no-data-check',
        '--allow-random-backbone', '--cfg-options', 'train_cfg.max_iters=2', 'model.data_preprocessor.size=(64,64)',
        'train_dataloader.dataset.pipeline.2.scale=(128,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)', 'param_scheduler.0.total_steps=20',
        f'train_dataloader.num_workers={workers}'])
    with pytest.raises(ValueError, match=r'annotations/training/ADE_train_0000000\d.png: label values 170, but the '
                                         'model predicts 150 classes'):
        job()
