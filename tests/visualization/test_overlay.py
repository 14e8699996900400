"""Segmentations over pictures: legends, colours, and what is left as it is."""

import numpy as np

from mmlocat.visualization.overlay import Prediction, compose, named_classes, paint, panel_size


def picture(seed, height=36, width=36):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_legends_of_long_lists_name_what_covers_most():
    labels = np.repeat(np.arange(40), 10).reshape(20, 20)
    labels[:5] = 149
    prediction = Prediction('m', labels, [f'class number {i}' for i in range(150)], [[i, i, i] for i in range(150)])
    shown, remark = named_classes([prediction])
    assert len(shown) == 24 and 149 in shown
    missing = set(np.unique(labels)) - set(shown)
    assert remark == f'and {len(missing)} more classes on {np.isin(labels, list(missing)).mean():.1%} of the picture'
    few = Prediction('m', np.zeros((4, 4), int), ['a', 'b'], [[0, 0, 0], [255, 255, 255]])
    assert named_classes([few]) == ([0, 1], '')
    # Frames of a video have one size, whatever occurs in them.
    image = picture(0, 60, 80)
    empty = Prediction('m', np.full((4, 4), 3), prediction.classes, prediction.palette)
    sizes = {compose(image, [p], fixed_legend=True).shape for p in (prediction, empty)}
    assert len(sizes) == 1 and all(side % 2 == 0 for side in sizes.pop()[:2])


def test_paint_blends_outlines_and_leaves_ignored_pixels():
    image = np.full((4, 8, 3), 100, np.uint8)
    labels = np.zeros((4, 8), int)
    labels[:, 4:] = 1
    labels[:, 7] = 255
    painted = paint(image, Prediction('m', labels, ['a', 'b'], [[0, 0, 0], [200, 0, 100]]), opacity=0.5)
    assert (painted[:, :4] == 50).all() and (painted[:, 5:7] == [150, 50, 100]).all()
    assert (painted[:, 4] == 255).all()
    assert (paint(image, Prediction('m', labels, ['a', 'b'], [[0] * 3, [9] * 3]), opacity=0) == 100).all()


def test_models_with_other_classes_get_legends_of_their_own():
    image, labels = picture(0, 60, 80), np.zeros((4, 4), int)
    first = Prediction('first', labels, ['sky', 'sea'], [[10, 20, 30], [40, 50, 60]])
    second = Prediction('second', labels, ['roof', 'wall'], [[70, 80, 90], [1, 2, 3]])
    together, apart = compose(image, [first, first]), compose(image, [first, second])
    height = 60 + panel_size(80, 60)[1]  # below it there are legends alone

    def has(sheet, colour):
        return (sheet[height:] == colour).all(-1).sum() > 100

    assert has(together, [40, 50, 60]) and not has(together, [1, 2, 3])
    assert has(apart, [40, 50, 60]) and has(apart, [1, 2, 3])
    assert apart.shape[0] > together.shape[0] and apart.shape[1] == together.shape[1]
