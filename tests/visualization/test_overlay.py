"""Segmentations over pictures: colours, legends, sizes, and what is left as it is."""

import numpy as np

from mmlocat.visualization.overlay import Prediction, _share_and_name, compose, named_classes


def sheet_of(labels, classes, palette, image=None):
    image = np.full((60, 80, 3), 100, np.uint8) if image is None else image
    return compose(image, [Prediction('m', labels, classes, palette)])


def has(pixels, colour):
    return (np.abs(pixels.astype(int) - colour).max(-1) <= 1).sum() > 100


def test_long_legends_name_what_covers_most_and_frames_have_one_size():
    labels = np.repeat(np.arange(40), 10).reshape(20, 20)
    labels[:5] = 149
    many = [f'class number {i}' for i in range(150)], [[i, i, i] for i in range(150)]
    shown = named_classes(Prediction('m', labels, *many))
    assert len(shown) == 24 and 149 in shown and shown == sorted(shown)
    assert named_classes(Prediction('m', np.zeros((4, 4), int), ['a', 'b'], [[0, 0, 0], [255, 255, 255]])) == [0, 1]
    sizes = {sheet_of(values, *many).shape for values in (labels, np.full((4, 4), 3))}
    assert len(sizes) == 1
    for height, width in ((36, 36), (41, 377), (211, 30)):
        shape = sheet_of(labels, *many, np.zeros((height, width, 3), np.uint8)).shape
        assert all(side % 2 == 0 for side in shape[:2]), shape


def test_classes_are_blended_and_ignored_pixels_left():
    labels = np.zeros((4, 8), int)
    labels[:, 4:], labels[:, 6:] = 1, 255
    sheet = sheet_of(labels, ['a', 'b'], [[0, 0, 0], [200, 0, 100]])
    picture, painted = sheet[70:350, :400], sheet[70:350, 400:]
    assert (picture[:, 20:380] == 100).all()
    assert has(painted[:, 20:190], [40, 40, 40]) and has(painted[:, 210:290], [160, 40, 100])
    assert (painted[:, 310:380] == 100).all()


def test_each_model_has_a_legend_of_its_own():
    image, labels = np.full((60, 80, 3), 100, np.uint8), np.zeros((4, 4), int)
    first = Prediction('first', labels, ['sky', 'sea'], [[10, 20, 30], [40, 50, 60]])
    second = Prediction('second', labels, ['roof', 'wall'], [[70, 80, 90], [1, 2, 3]])
    legends = compose(image, [first, second])[356:]
    assert legends.shape[1] == 1200
    assert has(legends[:, 400:800], [40, 50, 60]) and not has(legends[:, 400:800], [1, 2, 3])
    assert has(legends[:, 800:], [70, 80, 90]) and has(legends[:, 800:], [1, 2, 3])


def test_legends_give_shares_of_the_area():
    labels = np.zeros((10, 20), int)
    labels[:5], labels[9, 19], labels[8] = 1, 2, 255
    prediction = Prediction('m', labels, ['sky', 'sea', 'boat', 'bird'], [[0, 0, 0]] * 4)
    assert [_share_and_name(prediction, index) for index in range(4)] == ['40% sky', '50% sea', '<1% boat', 'bird']
