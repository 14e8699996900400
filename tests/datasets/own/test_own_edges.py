"""A config of one's own data where paths, lists and samples are unusual: nothing is lost, and no message misleads."""

import random
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets.check import check_data
from mmlocat.datasets.own import make_config

from .drawn import NANO, STEMS, image, label, loaded, make, pairs

COLOURS = ((0, 0, 0), (250, 0, 0), (0, 9, 250))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('how', ['the data', 'its link', 'links to maps', 'links to data'])
def test_conversion_never_writes_among_the_files_of_a_user(how):
    pairs('images/{}.png', 'labels/{}.png', values=COLOURS)
    before = {path: path.read_bytes() for path in Path('data').rglob('*.png')}
    folder = 'data' if how == 'the data' else 'other'
    if how == 'its link':
        Path('other').symlink_to('data')
    elif how == 'links to maps':
        Path('other/labels').mkdir(parents=True)
        for stem in STEMS:
            Path(f'other/labels/{stem}.png').symlink_to(Path(f'data/labels/{stem}.png').resolve())
    elif how == 'links to data':  # the data of a user lie elsewhere, and the new maps would too
        Path('data/labels').rename('labels')
        Path('data/labels').mkdir()
        for stem in STEMS:
            Path(f'data/labels/{stem}.png').symlink_to(Path(f'labels/{stem}.png').resolve())
        folder = '.'
    with pytest.raises(ValueError, match='would write .*00.png among your own files'):
        make_config('data', base=NANO['seg'], converted=folder, force=True, say=str)
    assert {path: path.read_bytes() for path in before} == before and not Path('my_configs').exists()


def test_conversion_knows_the_classes_of_maps_outside_the_sample():
    pairs('images/{}.png', 'labels/{}.png')
    for i, stem in enumerate(STEMS):
        label(f'labels/{stem}.png', ((0, 0, 0), (10 * i + 10, 0, 0)))
    config, said = make(count=2, converted='new')
    assert len(config.classes) == 6 and '6 classes:' in said and 'all 5 are opened' in said
    assert [np.unique(Image.open(f'new/labels/{stem}.png')).tolist() for stem in STEMS] == [[0, i] for i in range(1, 6)]
    # What looked like gaps was the sample: nothing needs to be written.
    order = [stem for name in ('train', 'val') for stem in Path(f'my_configs/data_{name}.txt').read_text().split()]
    opened = order[random.Random(0).sample(range(5), 1)[0]]
    for stem in STEMS:
        label(f'labels/{stem}.png', (0, 9) if stem == opened else (0, 1, 2, 3, 4, 5))
    config, said = make(count=1, converted='none')
    assert len(config.classes) == 10 and not Path('none').exists()
    # Nor does a sample of one class alone refuse the others.
    label(f'labels/{opened}.png', (0, ))
    config, said = make(count=1)
    assert len(config.classes) == 6 and 'all 5 are opened' in said
    for stem in STEMS:
        label(f'labels/{stem}.png', (0, ))
    with pytest.raises(ValueError, match='one class alone'):
        make(count=1)


def test_maps_are_found_where_the_data_are_a_link_and_where_the_new_folder_is():
    pairs('images/{}.png', 'labels/{}.png', values=COLOURS)
    Path('far/away').mkdir(parents=True)
    Path('data').rename('far/away/data')
    Path('data').symlink_to('far/away/data')
    for folder, where in (('new', str(Path('new/labels').resolve())), ('data/inner', 'inner/labels')):
        config, _ = make(converted=folder, images='images', labels='labels')
        assert config.val_dataloader.dataset.data_prefix.seg_map_path == Path(where).as_posix()
        assert loaded(config) == [0, 1, 2]
    # A .. leads out of the link's target, as it does for a training; the check does not take it for text.
    prefix = config.val_dataloader.dataset.data_prefix
    for path, missing in (('../data/inner/labels', False), ('../new/labels', True)):
        prefix.seg_map_path = path
        assert [str(error.message).split(':')[0] for error in check_data(config, files=None)[1].errors] == \
            ['labels that do not exist'] * missing


def test_maps_are_found_where_data_and_maps_have_moved_together(tmp_path, monkeypatch):
    pairs('images/{}.png', 'labels/{}.png', values=COLOURS)
    config, _ = make(converted='new')
    assert config.data_root == 'data' and config.val_dataloader.dataset.data_prefix.seg_map_path == '../new/labels'
    Path('elsewhere').mkdir()
    for name in ('data', 'new'):
        Path(name).rename(f'elsewhere/{name}')
    monkeypatch.chdir('elsewhere')
    assert loaded(config) == [0, 1, 2]


def test_folders_that_are_numbers_have_their_own_names():
    for kind in range(11):
        image(f'train/{kind}/0.jpg')
        image(f'val/{kind}/0.jpg')
    names = [f'name{i}' for i in range(12)]
    Path('data/classes.txt').write_text('\n'.join(names))
    Path('data/train.txt').write_text('train/0/0.jpg 0\n')
    config, said = make('cls')
    assert config.classes == sorted(map(str, range(11))) and 'classes.txt is not used' in said
    # The folders count, as they would without the list.
    assert not list(Path('my_configs').glob('*.txt'))
    assert 'train.txt: not used, since folders name the splits and classes' in said
    Path('data/train').rename('data/pictures')
    Path('data/val').rename('data/more')
    for split, folder in (('train', 'pictures'), ('val', 'more')):
        Path(f'data/{split}.txt').write_text(''.join(f'{folder}/{i}/0.jpg {i}\n' for i in range(11)))
    config, said = make('cls')
    assert config.classes == names and 'not used' not in said


def test_lists_beside_folders_of_splits_are_remarked_upon():
    for split, stems in (('train', STEMS[:3]), ('val', STEMS[3:])):
        pairs(f'images/{split}/{{}}.jpg', f'labels/{split}/{{}}.png', stems)
    Path('data/val.txt').write_text('00\n')
    _, said = make()
    assert 'val.txt: not used, since folders name the splits' in said and 'val: 2 in' in said


def test_commands_can_be_pasted_and_the_config_has_the_name_that_was_given():
    pairs('images/{}.png', 'labels/{}.png')
    Path('data').rename('far')
    Path('G data').symlink_to('far')
    said = []
    path = make_config('G data', base=NANO['seg'], workers=0, say=said.append)
    assert path == Path('my_configs/G data.py')
    commands = [shlex.split(line) for line in '\n'.join(said).splitlines() if line.startswith('  python ')]
    check, train, test, look = (command[2:] for command in commands)
    assert check == train == ['my_configs/G data.py'] and test[0] == look[2] == 'my_configs/G data.py'
    assert Path(look[0]).is_file() and look[4:] == test[1:] and test[1].startswith('work_dirs/G data/iter_')


@pytest.mark.parametrize('spelling', ['./{}', '{}/', 'x/../{}', 'absolute'])
def test_folders_are_named_in_any_spelling(spelling):
    pairs('foto/deep/{}.jpg', 'karten//deep/{}.png')
    Path('data/x').mkdir()
    images, labels = (str(Path('data', name).resolve()) if spelling == 'absolute' else spelling.format(name)
                      for name in ('foto/deep', 'karten//deep'))
    config, _ = make(images=images, labels=labels)
    assert config.val_dataloader.dataset.data_prefix == dict(img_path='foto/deep', seg_map_path='karten/deep')


def test_folders_that_do_not_fit_are_named():
    pairs('foto/{}.jpg', 'labels/{}.png')
    Path('data/empty').mkdir()
    for images, words in (('../data/foto', '--images ../data/foto is no folder below data'), ('.', 'no folder below'),
                          ('/', 'no folder below'), ('empty', 'has no label maps that belong to its images')):
        with pytest.raises(ValueError, match=words):
            make_config('data', images=images)


def test_a_mask_whose_zero_has_no_name_is_told_to_name_it():
    pairs('images/{}.png', 'labels/{}.png', values=(0, 1))
    Path('data/classes.txt').write_text('roof\n')
    with pytest.raises(ValueError, match='one class alone .*: add the name of 0, such as background, as the first'):
        make_config('data', base=NANO['seg'], say=str)
    with pytest.raises(ValueError, match='leave --zero-is-unlabelled out'):
        make_config('data', base=NANO['seg'], say=str, zero_is_unlabelled=True)
    Path('data/classes.txt').write_text('background\nroof\n')
    config, _ = make()
    assert loaded(config) == [0, 1] and config.classes == ['background', 'roof']
