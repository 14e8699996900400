"""Draws small data sets below ``data``, and makes configs of them that the check of the data must pass."""

from pathlib import Path

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from mmlocat.config import load_config
from mmlocat.datasets.check import check_data
from mmlocat.datasets.own import make_config

NANO = dict(seg='locatvit-nano_upernet_digitscenes', cls='locatvit-nano_digitscenes')
STEMS = [f'{i:02d}' for i in range(5)]


def image(name, size=(40, 33)):
    path = Path('data', name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (10, 200, 90)).save(path)


def label(name, values=(0, 1, 2, 255), dtype=np.uint8, palette=None):
    """Writes a map of 40 x 33 px, stripes of values or colours."""
    path = Path('data', name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(values, dtype), (40, *np.shape(values)[1:]))
    picture = Image.fromarray(np.broadcast_to(pixels, (33, *pixels.shape)).copy())
    if palette:
        picture.putpalette(palette)
    picture.save(path)


def pairs(images, labels, stems=STEMS, **settings):
    """Writes images and label maps by patterns in which {} is the stem."""
    for stem in stems:
        image(images.format(stem))
        label(labels.format(stem), **settings)


def make(task='seg', **options):
    """Returns the written config and what was said; its data must pass the check of tools/data/check.py."""
    said = []
    path = make_config('data', base=NANO[task], workers=0, force=True, say=said.append, **options)
    config = load_config(str(path))
    reports = check_data(config, files=None)
    assert [report.errors for report in reports] == [[], []]
    return config, '\n'.join(said)


def loaded(config, split='val'):
    """Returns the label values that a training reads from the first map of a split."""
    init_default_scope('mmseg')
    settings = config[f'{split}_dataloader'].dataset
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    dataset = DATASETS.build(dict(settings, pipeline=steps))
    return np.unique(dataset[0]['gt_seg_map']).tolist()
