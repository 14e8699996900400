"""The stamps of Tux Paint themselves, where they are at hand: no split shows what another one does."""

import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmlocat.datasets.stamp_scenes import package, prepare_stamps
from mmlocat.datasets.stamp_scenes.catalogue import ALIKE, every_name, reason
from mmlocat.datasets.stamp_scenes.sources import load_sources, read_stamp

MOST_ALIKE = 0.8  # of what may lie in different splits


def likeness(first, second):
    """Compares two stamps, (24, 24) cover and grey each: the lesser of overlap and correlation, mirrored too."""
    best = 0.
    for step in (1, -1):
        cover, grey = second[1][:, ::step], second[2][:, ::step]
        overlap = np.minimum(first[1], cover).sum() / np.maximum(first[1], cover).sum()
        inside = np.minimum(first[1], cover) > 0.5
        if inside.sum() > 20:
            best = max(best, min(overlap, np.corrcoef(first[2][inside], grey[inside])[0, 1]))
    return best


def small(stamp):
    pixels = np.asarray(Image.fromarray(stamp).resize((24, 24), Image.Resampling.BOX), np.float64) / 255
    cover = pixels[..., 3]
    return stamp.shape[1] / stamp.shape[0], cover, pixels[..., :3].mean(-1) * cover + 0.5 * (1 - cover)


def test_a_mirrored_copy_and_another_colour_are_found_alike():
    texture = np.random.default_rng(0).integers(0, 255, (24, 24, 4), dtype=np.uint8)
    texture[..., 3] = np.where(np.add.outer(np.arange(24), np.arange(24)) < 30, 255, 0)
    assert likeness(small(texture), small(texture[:, ::-1])) > 0.99
    assert likeness(small(texture), small(texture[::-1])) < MOST_ALIKE
    half = texture.copy()
    half[..., :3] //= 2
    assert likeness(small(texture), small(half)) > 0.99


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    return at_hand(tmp_path_factory.mktemp('cache'))


def at_hand(cache):
    """Returns the real stamps, where they are here; nothing is fetched for a test, and what is named must be sound."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, '_URL', 'file:///nothing is fetched for a test')
        if os.environ.get(package.VARIABLE):
            patch.setenv('MMLOCAT_DATA', str(cache))  # what is cached would be taken instead, whatever is named
            return prepare_stamps()
        try:
            return prepare_stamps()
        except RuntimeError:
            pytest.skip(f'the stamps of Tux Paint are not here; `make test-stamps`, or {package.VARIABLE} names them')


@pytest.mark.parametrize('name', ['damaged.deb', 'gone.deb'])
def test_what_is_named_and_cannot_be_used_fails(name, tmp_path, monkeypatch):
    (tmp_path / 'damaged.deb').write_bytes(b'!<arch>\n')
    monkeypatch.setenv(package.VARIABLE, str(tmp_path / name))
    with pytest.raises((RuntimeError, FileNotFoundError), match=name):
        at_hand(tmp_path / 'cache')
    monkeypatch.delenv(package.VARIABLE)
    monkeypatch.setenv('MMLOCAT_DATA', str(tmp_path / 'cache'))
    monkeypatch.setattr(package, '_INSTALLED', tmp_path / 'none')
    with pytest.raises(pytest.skip.Exception, match='make test-stamps'):
        at_hand(tmp_path / 'cache')


def test_every_stamp_of_the_package_is_used_or_has_a_reason():
    named = os.environ.get(package.VARIABLE)
    if not named:
        pytest.skip(f'{package.VARIABLE} names no package')
    shipped, used = {name for name, _ in package.read_all(Path(named))}, set(every_name())
    assert used <= shipped and len(shipped) == 796
    assert sorted(name for name in shipped - used if not reason(name)) == []


def test_the_real_splits_hold_nothing_that_looks_alike(real):
    seen = {name: small(read_stamp(real / f'{name}.png')) for name in every_name()}
    mates = [set(group.split()) for group in ALIKE]
    alike = [(first, second) for first, second in combinations(every_name(), 2)
             if abs(np.log(seen[first][0] / seen[second][0])) < 0.35
             and likeness(seen[first], seen[second]) > MOST_ALIKE and not any({first, second} <= own for own in mates)]
    assert alike == []


def test_the_real_stamps_are_split_in_pixels_too(real):
    sources = load_sources(0)
    parts = {split: {stamp.tobytes() for own in (*source.stamps, source.distractors) for stamp in own}
             for split, source in sources.items()}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(every_name())
    assert all(stamp.shape[2] == 4 and stamp[..., 3].min() == 0 for source in sources.values()
               for own in (*source.stamps, source.distractors) for stamp in own)
