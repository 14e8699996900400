"""A config of one's own data where paths, lists and samples are unusual: nothing is lost, and no message misleads."""

from pathlib import Path

import pytest

from mmlocat.datasets.own import make_config

from .drawn import NANO, STEMS, image, loaded, make, pairs


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


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
