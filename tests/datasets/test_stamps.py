"""StampScenes: which stamps are used, what the splits share (nothing), how the stamps are fetched, what is drawn."""

import io
import runpy
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mmlocat.datasets import StampScenesClassification, StampScenesSegmentation
from mmlocat.datasets.scenes.build import read_manifest
from mmlocat.datasets.stamp_scenes import StampScenesSpec, package, prepare_stamp_scenes, prepare_stamps
from mmlocat.datasets.stamp_scenes.catalogue import (
    ALIKE,
    CLASSES,
    DISTRACTORS,
    LEFT_OUT,
    every_name,
    families,
    names,
    reason,
)
from mmlocat.datasets.stamp_scenes.render import _crop, render_scene
from mmlocat.datasets.stamp_scenes.sources import Sources, divide, load_sources
from tests.conftest import ROOT


def shape(number):
    """Draws one of a dozen shapes with a hole, in one of many colours, on a transparent ground."""
    image = Image.new('RGBA', (24 + number % 5, 20 + number % 3))
    draw, colour = ImageDraw.Draw(image), (40 + number % 200, 250 - number % 200, 60 + 13 * number % 180, 255)
    if number % 12:
        draw.regular_polygon((12, 10, 9), 3 + number % 12, fill=colour)
    else:
        draw.ellipse((3, 3, 20, 17), fill=colour)
    draw.rectangle((11, 9, 12, 10), fill=(0, 0, 0, 0))
    data = io.BytesIO()
    image.save(data, 'PNG')
    return data.getvalue()


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A folder as dpkg-deb -x leaves it, with a made stamp under every name of the catalogue; and a package of it."""
    folder = tmp_path_factory.mktemp('made')
    for number, name in enumerate([*every_name(), 'symbols/chess/king', 'animals/birds/albino_peahen']):
        path = folder / 'unpacked' / 'usr/share/tuxpaint/stamps' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shape(number))
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w:xz') as archive:
        archive.add(folder / 'unpacked' / 'usr', './usr')
    members = [(b'debian-binary', b'2.0\n'), (b'control.tar.xz', b'odd'), (b'data.tar.xz', data.getvalue())]
    with open(folder / 'stamps.deb', 'wb') as file:
        file.write(b'!<arch>\n')
        for name, content in members:
            file.write(b'%-16s%-12d%-6d%-6d%-8s%-10d`\n' % (name, 0, 0, 0, b'100644', len(content)))
            file.write(content + b'\n' * (len(content) % 2))
    return folder


@pytest.fixture
def given(made, tmp_path, monkeypatch):
    """Makes the stamps come from the made package, into an empty cache."""
    monkeypatch.setenv('MMLOCAT_DATA', str(tmp_path / 'cache'))
    monkeypatch.setenv(package.VARIABLE, str(made / 'stamps.deb'))
    monkeypatch.setattr(package, '_INSTALLED', tmp_path / 'not installed')
    monkeypatch.setattr(package, 'SHA256', package.checksum(made / 'unpacked/usr/share/tuxpaint/stamps'))
    return made


def test_the_catalogue_is_consistent():
    used = every_name()
    assert len(used) == len(set(used)) and len(CLASSES) == 9
    assert all(len(names(part)) >= 11 for part in CLASSES.values())
    mates = [name for group in ALIKE for name in group.split()]
    assert len(mates) == len(set(mates)) and set(mates) <= set(used)
    for part in (*CLASSES.values(), DISTRACTORS):  # what is alike is of one class, or it could not stay together
        assert sorted(name for group in families(names(part)) for name in group) == sorted(names(part))
    assert sum(len(families(names(part))) for part in (*CLASSES.values(), DISTRACTORS)) == (
        len(used) - len(mates) + len(ALIKE))
    assert not set(LEFT_OUT) & set(used)
    for pair in ('fruit/sliced_lime fruit/sliced_orange', 'fruit/Strawberry2 fruit/strawberry',
                 'vegetables/pepper vegetables/yellowpepper'):  # of one kind; no comparison of pixels finds them
        assert ' '.join(f'food/{name}' for name in pair.split()) in ALIKE
    assert 'drawing' in reason('food/fruit/cartoon/apple') and 'no class' in reason('food/nuts/walnut')
    assert reason('animals/birds/albino_peahen').startswith('brings ground') and reason('animals/birds/dodo') == ''


@pytest.mark.parametrize('seed', range(5))
def test_splits_share_no_stamp_and_nothing_alike(seed):
    parts = divide(seed)
    for title, folders in {**CLASSES, 'distractor': DISTRACTORS}.items():
        own = [parts[split][title] for split in ('train', 'val', 'test')]
        assert sorted(sum(own, [])) == sorted(names(folders))
        count = len(names(folders))
        assert [len(part) for part in own[1:]] == [round(0.15 * count), round(0.25 * count)]
    split_of = {name: split for split, part in parts.items() for own in part.values() for name in own}
    for group in ALIKE:
        assert len({split_of[name] for name in group.split()}) == 1, group
    assert parts != divide(seed + 1)


def test_a_package_a_folder_and_the_cache_give_the_same(given, tmp_path, monkeypatch):
    root = prepare_stamps()
    assert sorted(path.relative_to(root).with_suffix('').as_posix() for path in root.rglob('*.png')) == sorted(
        every_name())  # and no other stamp
    assert 'Bill Kendrick' in (root / 'LICENCE.txt').read_text() and 'General Public' in package._LICENCE
    for name in ('unpacked', 'unpacked/usr/share/tuxpaint/stamps'):
        monkeypatch.setenv('MMLOCAT_DATA', str(tmp_path / name))
        monkeypatch.setenv(package.VARIABLE, str(given / name))
        assert package.checksum(prepare_stamps()) == package.SHA256
    monkeypatch.setenv(package.VARIABLE, '/nowhere')
    assert prepare_stamps().is_dir()  # cached


def test_what_cannot_be_used_is_said(given, tmp_path, monkeypatch):
    def refused(error, match):
        with pytest.raises(error, match=match):
            prepare_stamps()
        assert not list((tmp_path / 'cache').glob('*/*'))  # nothing half is left

    monkeypatch.setenv(package.VARIABLE, str(tmp_path / 'gone.deb'))
    refused(FileNotFoundError, 'MMLOCAT_STAMPS names .*gone.deb, which does not exist; fetch the package elsewhere')
    (tmp_path / 'empty').mkdir()
    monkeypatch.setenv(package.VARIABLE, str(tmp_path / 'empty'))
    refused(FileNotFoundError, f'empty lacks {len(every_name())} of .*adelaide-rosella.png first; fetch .* MMLOCAT_ST')
    (tmp_path / 'odd.deb').write_bytes(b'PK')
    monkeypatch.setenv(package.VARIABLE, str(tmp_path / 'odd.deb'))
    refused(RuntimeError, 'odd.deb cannot be unpacked as a Debian package .not an ar archive.; fetch')
    (tmp_path / 'short.deb').write_bytes((given / 'stamps.deb').read_bytes()[:-3000])
    monkeypatch.setenv(package.VARIABLE, str(tmp_path / 'short.deb'))
    refused((RuntimeError, FileNotFoundError), 'short.deb (cannot be unpacked|lacks .* of )')
    monkeypatch.setenv(package.VARIABLE, str(given / 'unpacked'))
    monkeypatch.setattr(package, 'SHA256', 'f' * 64)
    refused(ValueError, 'have sha256 .*, not ffff')
    monkeypatch.delenv(package.VARIABLE)
    monkeypatch.setattr(package, '_URL', (tmp_path / 'no mirror').as_uri())
    refused(RuntimeError, 'cannot be fetched from file:.*dpkg-deb -x FILE FOLDER.*; DigitScenes needs no download')


def test_a_mirror_serves_where_nothing_is_given(given, monkeypatch):
    monkeypatch.delenv(package.VARIABLE)
    monkeypatch.setattr(package, '_URL', (given / 'stamps.deb').as_uri())
    assert package.checksum(prepare_stamps()) == package.SHA256


def test_an_installed_tux_paint_serves_if_it_is_of_the_same_version(given, tmp_path, monkeypatch):
    monkeypatch.delenv(package.VARIABLE)
    monkeypatch.setattr(package, '_INSTALLED', given / 'unpacked/usr/share/tuxpaint/stamps')
    monkeypatch.setattr(package, '_URL', (tmp_path / 'no mirror').as_uri())
    assert package.checksum(prepare_stamps()) == package.SHA256
    installed = tmp_path / 'installed'
    (installed / 'animals/birds').mkdir(parents=True)
    (installed / 'animals/birds/crow.png').write_bytes(shape(3))
    monkeypatch.setattr(package, '_INSTALLED', installed)
    monkeypatch.setattr(package, '_URL', (given / 'stamps.deb').as_uri())
    for number, kept in enumerate((['animals/birds/crow'], every_name())):  # one alone; all, of which one is another
        for name in kept:
            (installed / f'{name}.png').parent.mkdir(parents=True, exist_ok=True)
            (installed / f'{name}.png').write_bytes(shape(number))
        monkeypatch.setenv('MMLOCAT_DATA', str(tmp_path / f'cache {number}'))
        assert package.checksum(prepare_stamps()) == package.SHA256


def flat(*levels):
    """Returns sources of one square for each class, of the given greys, and a black distractor."""
    squares = [np.full((40, 40, 4), (level, level, level, 255), np.uint8) for level in (*levels, 0)]
    photo = np.random.default_rng(0).integers(0, 90, (140, 150, 3), dtype=np.uint8)
    return Sources(tuple((square, ) for square in squares[:-1]), (squares[-1], ), photo)


def both(first, second, *settings):
    """Draws a scene from two sources of equal shapes; returns it, and where the two pictures differ in grey."""
    one, two = (render_scene(sources, 64, *settings[:-1], np.random.default_rng(settings[-1]))
                for sources in (first, second))
    assert np.array_equal(one[1], two[1]) and one[2] == two[2]
    return (*one, np.abs(one[0].astype(int) - two[0]).max(-1))


def away(label_map):
    """Tells which pixels are more than 2 px away from any object: its rim is partly transparent."""
    return np.asarray(Image.fromarray((label_map > 0).astype(np.uint8)).filter(ImageFilter.MaxFilter(5))) == 0


def test_labels_are_what_is_seen():
    """Light and dark stamps make a difference where a label is, and nowhere else: not where a distractor lies above."""
    seen, counts = [], set()
    for number in range(60):
        image, label_map, labels, changed = both(flat(250, 250, 250), flat(10, 10, 10), (0.3, 0.5), 3, number)
        assert image.shape == (64, 64, 3) and image.dtype == label_map.dtype == np.uint8
        # Objects and distractors may cover one another in part, never wholly.
        assert set(np.unique(label_map)) - {0} == {1 + label for label in labels}
        assert changed[label_map > 0].min() > 15 and changed[away(label_map)].max() == 0
        counts.add(len(labels))
        seen += labels
    assert counts == {1, 2, 3} and min(np.bincount(seen, minlength=3)) > len(seen) / 5  # classes are as likely


def test_a_background_tells_nothing_of_a_class():
    """Where the stamps of two classes are exchanged, every pixel around the object stays as it was."""
    sources = flat(10, 250)._replace(distractors=())  # an image of one object has none
    exchanged = sources._replace(stamps=sources.stamps[::-1])
    kinds = set()
    for number in range(12):
        _, label_map, labels, changed = both(sources, exchanged, (0.5, 0.9), 1, number)
        assert len(labels) == 1 and changed[away(label_map)].max() == 0 < changed.max()
        kinds.add(labels[0])
    assert kinds == {0, 1}


def test_backgrounds_show_as_much_of_the_photograph_in_every_split(given):
    """A ramp of half a level a pixel: the levels of a crop say how much of it is seen."""
    photo = np.broadcast_to((np.arange(400) // 2)[None, :, None], (400, 400, 3)).astype(np.uint8)
    spans = [2 * np.ptp(_crop(photo, 96, np.random.default_rng(number))) for number in range(40)]
    assert 88 < min(spans) < 100 and 120 < max(spans) < 136
    assert all(min(source.photo.shape[:2]) >= 128 for source in load_sources(0).values())


def test_it_is_a_data_set_of_both_libraries(given, tmp_path):
    spec = StampScenesSpec(classification=(12, 2, 3), segmentation=(4, 1, 2))
    root = prepare_stamp_scenes(tmp_path / 'data', spec, progress=False)
    data = StampScenesClassification('train', str(root), pipeline=[])
    assert len(data) == 12 and {data.get_data_info(i)['gt_label'] for i in range(12)} <= set(range(9))
    assert Image.open(data.get_data_info(0)['img_path']).size == (96, 96)
    data = StampScenesSegmentation('test', str(root), pipeline=[])
    assert len(data) == 2 and len(data.metainfo['classes']) == len(data.metainfo['palette']) == 10
    label_map = np.asarray(Image.open(data.get_data_info(1)['seg_map_path']))
    assert label_map.shape == (128, 128) and 0 < label_map.max() <= 9
    again = prepare_stamp_scenes(tmp_path / 'again', spec, progress=False)
    assert read_manifest(again, 'StampScenes') == read_manifest(root, 'StampScenes')
    with pytest.raises(ValueError, match='holds StampScenes, not DigitScenes; give another data_root'):
        read_manifest(root, 'DigitScenes')


def test_the_command_shows_counts_names_and_reasons(monkeypatch, capsys):
    tool = str(ROOT / 'tools' / 'data' / 'stamps.py')

    def shown(*options):
        monkeypatch.setattr(sys, 'argv', [tool, *options])
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr().out

    bird = next(line for line in shown().splitlines() if 'bird' in line)
    assert [int(cell) for cell in bird.replace('│', ' ').split()[1:]] == [20, 5, 8, 33]
    page = ' '.join((ROOT / 'docs' / 'photographs.md').read_text(encoding='utf-8').split())
    total = sum(len(names(part)) for part in CLASSES.values())
    assert f'{len(every_name())} of them are photographs' in page and f'{total} of these a thing of one of nine' in page
    held = sum(len(own) for title, own in divide(0)['test'].items() if title != 'distractor')
    assert f'drawn from the same {held} stamps of the nine classes' in page
    assert shown('--names').count('distractor') == len(names(DISTRACTORS))
    assert 'mirrored copy' in shown('--left-out')
