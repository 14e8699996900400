"""Memory over images of random sizes: what is left after each must not add up."""

import gc
import os
import random
from pathlib import Path

import pytest
import torch
from conftest import NANO, ROOT
from mmengine.registry import MODELS, init_default_scope

from mmlocat.engine.config import load_config
from mmlocat.models import LocAtViT

LARGEST = 160
STATM = Path('/proc/self/statm')
pytestmark = pytest.mark.skipif(not STATM.is_file(), reason='only Linux tells the memory of a process in /proc')


def resident():
    """Returns what this process holds in memory, in MB; pages that are freed and kept by malloc included."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def models():
    init_default_scope('mmseg')
    config = load_config(str(ROOT / 'configs' / 'locatvit-nano_linear_digitscenes.py'))
    segmentor = MODELS.build(config.model)
    segmentor.eval()
    backbone = LocAtViT(NANO, 24, 4)

    def run(size):
        with torch.no_grad():
            segmentor(torch.randn(1, 3, *size), mode='predict')
        backbone(torch.randn(1, 3, *size))[0].sum().backward()
        backbone.zero_grad()

    return run


def growth(images):
    """Returns the growth over the last two thirds, and what the largest image left, in MB."""
    run, draw = models(), random.Random(0)
    before = resident()
    for _ in range(3):
        run((LARGEST, LARGEST))  # the most that malloc will ever be asked for
    one = resident() - before
    sizes = [(draw.randint(1, LARGEST), draw.randint(1, LARGEST)) for _ in range(images)]
    for size in sizes[:images // 3]:
        run(size)
    warm = resident()
    for size in sizes[images // 3:]:
        run(size)
    return resident() - warm, one


def check(images, figure):
    grown, one = growth(images)
    # A leak of one feature map (160 x 160 px: 0.4 MB) an image would be 8 MB in 20 images and 80 MB in 200.
    allowed = max(6., 0.03 * images)
    assert grown < allowed, f'{grown:.1f} MB more after {images} images; the largest one took {one:.1f} MB'
    figure('Any input', f'memory growth over {images} images of random sizes up to {LARGEST} px, forward and backward, '
                        f'after the first {images // 3}, in MB', max(0., grown))


def test_memory_does_not_grow(figure):
    check(30, figure)


@pytest.mark.soak
def test_memory_does_not_grow_over_300_images(figure):
    check(300, figure)


def test_the_check_would_see_a_leak(monkeypatch, figure):
    kept, forward = [], LocAtViT.forward

    def leak(self, x):
        kept.append(torch.ones(1 << 18))  # 1 MB
        return forward(self, x)

    monkeypatch.setattr(LocAtViT, 'forward', leak)
    with pytest.raises(AssertionError, match='MB more after 30 images'):
        check(30, figure)
