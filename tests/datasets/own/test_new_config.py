"""A config of one's own data: which folders are recognised, what label maps mean, and that the config fits them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmlocat.config import load_config
from mmlocat.datasets.own import make_config

from .drawn import NANO, STEMS, image, label, loaded, make, pairs


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def split_sizes(said):
    return [int(line.split()[1]) for line in said.splitlines() if line.startswith(('  train: ', '  val: '))]


@pytest.mark.parametrize('images, labels', [
    ('images/{}/{{}}.jpg', 'annotations/{}/{{}}.png'), ('{}/img/{{}}.png', '{}/masks/{{}}_mask.png'),
    ('leftImg8bit/{}/ulm/ulm_{{}}_leftImg8bit.png', 'gtFine/{}/ulm/ulm_{{}}_gtFine_labelTrainIds.png'),
    ('images/{}2017/{{}}.jpg', 'annotations/{}2017/{{}}_labelTrainIds.png')])
def test_folders_of_splits_need_no_lists(images, labels):
    for split, stems in (('train', STEMS[:3]), ('val', STEMS[3:])):
        pairs(images.format(split), labels.format(split), stems)
        if 'TrainIds' in labels:  # what lies beside them in Cityscapes and COCO-Stuff
            pairs(images.format(split), labels.format(split).replace('_labelTrainIds', '_labelIds'), stems,
                  values=(0, 181))
            pairs(images.format(split), labels.format(split).replace('labelTrainIds', 'color'), stems)
    config, said = make()
    assert split_sizes(said) == [3, 2] and not list(Path('my_configs').glob('*.txt'))
    assert loaded(config) == [0, 1, 2, 255] and '255 unlabelled: 25.0% of the pixels' in said
    assert len(config.classes) == (19 if 'leftImg8bit' in images else 3)
    assert config.model.decode_head.num_classes == config.model.auxiliary_head.num_classes == len(config.classes)


@pytest.mark.parametrize('lists, sizes', [
    ({}, [4, 1]),
    ({'list.txt': 'images/{0}.jpg labels/{0}.png\n'}, [4, 1]),
    ({'train.txt': './images/{0}.jpg labels/{0}.png\n', 'val.txt': '04\n'}, [5, 1]),
    ({'ImageSets/Segmentation/train.txt': '{0}\n', 'ImageSets/Segmentation/val.txt': '02\n'}, [5, 1])])
def test_lists_name_the_splits_or_a_rule_makes_them(lists, sizes):
    pairs('images/{}.jpg', 'labels/{}.png')
    for name, line in lists.items():
        Path('data', name).parent.mkdir(parents=True, exist_ok=True)
        Path('data', name).write_text(''.join(line.format(stem) for stem in (STEMS if '{' in line else [''])))
    config, said = make()
    assert split_sizes(said) == sizes
    train, val = (Path(f'my_configs/data_{split}.txt').read_text().split() for split in ('train', 'val'))
    assert [len(train), len(val)] == sizes
    assert ('drawn with seed 0' in said) == (sizes == [4, 1])
    if sizes == [4, 1]:
        assert sorted(train + val) == STEMS
    assert config.crop_size == (32, 32) and config.train_dataloader.dataset.pipeline[2].scale == (128, 32)


def test_what_has_no_partner_is_left_out_and_counted():
    pairs('foto/{}.jpg', 'karten/{}.png')
    image('foto/extra.jpg')
    label('karten/lonely.png')
    _, said = make(images='foto', labels='karten')
    assert '1 images have no label map and are left out (extra)' in said and 'left out (lonely)' in said
    assert sum(split_sizes(said)) == 5


def colours(text=''):
    pairs('images/{}.png', 'labels/{}.png', values=((0, 0, 0), (250, 0, 0), (0, 9, 250)))
    if text:
        Path('data/classes.txt').write_text(text)


# A name, what makes the maps, options, what a training reads, the number of classes, words of the report.
MAPS = {
    'palette': (dict(values=(0, 1), palette=[9, 9, 9, 8, 7, 6]), {}, [0, 1], 2, 'numbers with a palette'),
    'from one': (dict(values=(1, 2, 3)), {}, [0, 1, 2], 3, '0 is read as unlabelled'),
    'zero by option': (dict(values=(0, 1, 2)), dict(zero_is_unlabelled=True), [0, 1, 255], 2, '0 unlabelled: 35.0%'),
    'object': (dict(values=(0, 255)), dict(converted='new'), [0, 1], 2, 'masks of one object'),
    '16 bits': (dict(values=(0, 700, 4000), dtype=np.uint16), dict(converted='new'), [0, 1, 2], 3, 'up to 4,000'),
    'gaps': (dict(values=(0, 90, 200, 255)), dict(converted='data/new'), [0, 1, 2, 255], 3, 'most numbers below'),
}


@pytest.mark.parametrize('kind', MAPS)
def test_label_maps_mean_what_the_report_says(kind):
    settings, options, values, classes, words = MAPS[kind]
    pairs('images/{}.png', 'labels/{}.png', **settings)
    before = Path('data/labels/00.png').read_bytes()
    if 'converted' in options:
        with pytest.raises(ValueError, match='--convert FOLDER'):
            make()
        assert not Path('my_configs').exists()
    config, said = make(**options)
    assert loaded(config) == values and len(config.classes) == len(config.palette) == classes and words in said
    assert Path('data/labels/00.png').read_bytes() == before
    if kind == 'palette':
        assert config.palette == [[9, 9, 9], [8, 7, 6]]


def test_colours_are_numbered_in_the_order_of_classes_txt():
    colours('sea 0 9 250\nroof 250 0 0\n')
    config, said = make(converted='new')
    assert loaded(config) == [0, 1, 255] and config.classes == ['sea', 'roof']
    assert config.palette == [[0, 9, 250], [250, 0, 0]] and '1 colours are no class ((0, 0, 0))' in said
    written = np.asarray(Image.open('new/labels/00.png'))
    assert written[0, :3].tolist() == [255, 1, 0] and written.dtype == np.uint8 and written.shape == (33, 40)


def test_names_tell_whether_zero_is_a_class():
    pairs('images/{}.png', 'labels/{}.png', values=(0, 1, 2))
    for names, values in (('a\nb\n', [0, 1, 255]), ('a\nb\nc\n', [0, 1, 2]), ('a\nb\nc\nd\n', [0, 1, 2])):
        Path('data/classes.txt').write_text(names)
        config, said = make()
        assert loaded(config) == values and config.classes == names.split()
        assert ('1 of 4 classes are in none' in said) == ('d' in names)


def coco():
    image('images/a.jpg')
    label('annotations/unrelated.png')
    content = dict(images=[1], annotations=[1, 2], categories=[3, 4, 5])
    Path('data/annotations/instances.json').write_text(json.dumps(content))


def two_suffixes():
    pairs('images/{}.jpg', 'labels/{}.png')
    pairs('images/{}.jpeg', 'labels/{}.png', ['x'])


def blurred():
    pairs('images/{}.png', 'labels/{}.png', values=[(i, 0, 0) for i in range(40)])
    for i in range(1, 9):
        label(f'labels/0{i}.png', [(j, i, 0) for j in range(40)])
        image(f'images/0{i}.png')


def sound():
    pairs('images/{}.jpg', 'labels/{}.png')


def a_wrong_list():
    sound()
    Path('data/train.txt').write_text('00\nnothing\n')


FAULTS = {
    'is no folder': (lambda: None, {}),
    'COCO file: 1 images, 2 objects of 3 categories': (coco, {}),
    'do not end with .jpg .x.jpeg.': (two_suffixes, {}),
    'too many for classes': (blurred, {}),
    'name no labelled image .nothing.': (a_wrong_list, {}),
    'csCreateTrainIdLabelImgs': (lambda: pairs('leftImg8bit/train/u/{}_leftImg8bit.png',
                                               'gtFine/train/u/{}_gtFine_labelIds.png'), {}),
    'several folders of label maps': (lambda: [pairs('images/{}.png', f'{name}/{{}}.png') for name in ('gt', 'masks')],
                                      {}),
    'is a JPEG': (lambda: pairs('images/{}.jpg', 'labels/{}.jpg'), {}),
    'one class alone': (lambda: pairs('images/{}.jpg', 'labels/{}.png', values=(0, )), {}),
    'has no label maps that belong': (lambda: image('cat/a.jpg'), dict(task='seg')),
    'has one class alone': (lambda: image('cat/a.jpg'), dict(task='cls')),
    'has no segmentor': (sound, dict(base='locatvit_imagenet')),
    'does not exist; did you mean': (sound, dict(base='locatvit_upernet_ade')),
    'no name of a config': (sound, dict(out='new.yml')),
}


@pytest.mark.parametrize('words', FAULTS)
def test_a_fault_is_one_line_and_nothing_is_written(words):
    write, options = FAULTS[words]
    write()
    with pytest.raises((ValueError, FileNotFoundError), match=words) as raised:
        make_config('data', **options)
    assert '\n' not in str(raised.value) and not Path('my_configs').exists()


def test_nothing_is_replaced_without_force():
    pairs('images/{}.jpg', 'labels/{}.png')
    Path('my_configs').mkdir()
    for name in ('data.py', 'data_val.txt'):
        Path('my_configs', name).write_text('mine')
        with pytest.raises(ValueError, match=f'{name} is there already.*--force'):
            make_config('data', base=NANO['seg'])
        assert [path.read_text() for path in Path('my_configs').iterdir()] == ['mine'], name
        Path('my_configs', name).unlink()


@pytest.mark.parametrize('layout, sizes, listed', [
    ('{split}/{kind}/{stem}.jpg', [6, 4], False), ('{kind}/{stem}.jpg', [8, 2], True),
    ('{split}/{kind}/{stem}.webp', [6, 4], True)])
def test_class_folders(layout, sizes, listed):
    for stem in STEMS:
        for kind in ('car', 'train'):
            image(layout.format(split='train' if stem < '03' else 'val', kind=kind, stem=stem))
    config, said = make('cls')
    assert split_sizes(said) == sizes and config.classes == ['car', 'train'] and '1 train: 5' in said
    assert bool(list(Path('my_configs').glob('*.txt'))) == listed and config.model.head.num_classes == 2
    assert config.val_evaluator.topk == (1, ) and config.data_preprocessor.num_classes == 2


def test_classes_of_lists_and_of_uneven_folders():
    for kind in ('a', 'b', 'c'):
        image(f'train/{kind}/0.jpg')
        image(f'val/{kind}/0.jpg')
    Path('data/val/b/0.jpg').unlink()
    config, said = make('cls')
    assert 'val: no image of b' in said and config.classes == ['a', 'b', 'c']
    assert Path('my_configs/data_val.txt').read_text() == 'a/0.jpg 0\nc/0.jpg 2\n'
    Path('data/val/a/0.jpg').rename('data/flat.jpg')
    for path in ('data/train', 'data/val'):
        Path(path).rename(path.replace('data/', 'data/pictures_'))
    Path('data/train.txt').write_text('flat.jpg 0\npictures_val/c/0.jpg 2\n')
    Path('data/val.txt').write_text('pictures_train/b/0.jpg 1\n')
    Path('data/classes.txt').write_text('one\ntwo\nthree\n')
    config, _ = make('cls')
    assert config.classes == ['one', 'two', 'three'] and len(config.train_dataloader.dataset.ann_file) > 10


def test_the_schedule_shrinks_and_published_weights_are_named():
    for kind in ('a', 'b'):
        image(f'{kind}/0.jpg')
    config = load_config(str(make_config('data', say=str)))
    assert config.checkpoint == 'hf://sinahmr/locatvit_tiny' and config.train_cfg.max_epochs == 50
    assert config.param_scheduler[1].end == 50 and config.auto_scale_lr.base_batch_size == 8
    assert config.optim_wrapper.optimizer.lr == pytest.approx(1e-3 * (8 / 1024)**0.5, rel=0.02)
    assert 'split' not in config.test_dataloader.dataset  # of the data set of the base
    pairs('images/{}.jpg', 'labels/{}.png')
    config = load_config(str(make_config('data', out='b.py', length=1000, say=str)))
    assert config.param_scheduler[1].end == 1000 and config.param_scheduler[0].end == config.param_scheduler[1].begin
    assert config.default_hooks.checkpoint.interval == config.train_cfg.val_interval == 100
