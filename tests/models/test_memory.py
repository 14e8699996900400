"""Memory over images of random sizes: what is left after each must not add up."""

import ctypes
import gc
import os
import random
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmlocat.config import load_config
from mmlocat.models import LocAtViT
from tests.conftest import NANO, ROOT

LARGEST = 112
STATM = Path('/proc/self/statm')
pytestmark = pytest.mark.skipif(not STATM.is_file(), reason='only Linux tells the memory of a process in /proc')


def resident():
    """Returns what this process holds in memory, in MB, without what malloc keeps for later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # of glibc
    if trim:
        trim(0)
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


def growth(images, onednn=False):
    """Returns what the last two thirds of the images left behind, in MB."""
    draw = random.Random(0)
    sizes = [(draw.randint(1, LARGEST), draw.randint(1, LARGEST)) for _ in range(images)]
    with torch.backends.mkldnn.flags(enabled=onednn):
        run = models()
        for size in [(LARGEST, LARGEST)] * 2 + sizes[:images // 3]:
            run(size)
        warm = resident()
        for size in sizes[images // 3:]:
            run(size)
        return resident() - warm


def check(images, figure):
    grown = growth(images)
    # A leak of one feature map (112 x 112 px: 0.2 MB) an image would be 4 MB in 20 images and 40 MB in 200.
    assert grown < 2, f'{grown:.1f} MB more after {images} images'
    figure('Any input', f'memory growth over {images} images of random sizes up to {LARGEST} px, forward and backward, '
                        f'after the first {images // 3}, in MB', max(0., grown))


def test_memory_does_not_grow(figure):
    check(30, figure)


@pytest.mark.soak
def test_memory_does_not_grow_over_300_images(figure):
    check(300, figure)


@pytest.mark.soak
def test_what_onednn_keeps_is_bounded(figure):
    """PyTorch's oneDNN keeps the last 1,024 kernels, one for each new size of a convolution, by its own default."""
    grown = growth(300, onednn=True)
    assert grown < 1024 * 0.1
    figure('Any input', 'the same with oneDNN on, which keeps kernels by image size, in MB', max(0., grown))


def test_the_check_would_see_a_leak(monkeypatch):
    kept, forward = [], LocAtViT.forward

    def leak(self, x):
        kept.append(torch.ones(1 << 18))  # 1 MB
        return forward(self, x)

    monkeypatch.setattr(LocAtViT, 'forward', leak)
    with pytest.raises(AssertionError, match='MB more after 15 images'):
        check(15, lambda *measured: None)
