"""Miniature trees in the layouts of the official data sets: names, suffixes, modes, lists as in the originals."""

import runpy
from pathlib import Path

import mmseg
import numpy as np
from PIL import Image

from mmlocat.config import load_config
from tests.conftest import ROOT

SIZE = (40, 32)  # width, height
COLOUR = (200, 100, 50)  # of every image's first; far enough apart to tell channels
# Four values a label file holds, a quarter each, as the original has them: the first class, the last, what is ignored.
RAW_VALUES = {
    'ade20k': (0, 1, 150, 7),
    'pascal_context59': (0, 1, 59, 7),
    'coco_stuff164k': (255, 0, 181, 7),
    'voc2012': (255, 0, 20, 7),
}
# What a head learns from them; 255 is ignored. COCO-Stuff's 181 is train id 170.
LEARNED_VALUES = {
    'ade20k': (255, 0, 149, 6),
    'pascal_context59': (255, 0, 58, 6),
    'coco_stuff164k': (255, 0, 170, 7),
}
LEAVES = {  # one config of each
    'ade20k': 'vit_linear_ade20k',
    'pascal_context59': 'vit_linear_pascal_context59',
    'coco_stuff164k': 'vit_linear_coco_stuff164k',
    'voc2012': 'vit_hummingbird_voc2012',
    'imagenet': 'vit_imagenet',
    'mini-imagenet': 'vit_mini-imagenet',
}
ROOTS = {
    'ade20k': 'data/ade/ADEChallengeData2016',
    'pascal_context59': 'data/VOCdevkit/VOC2010',
    'coco_stuff164k': 'data/coco_stuff164k',
    'voc2012': 'data/VOCdevkit/VOC2012',
    'imagenet': 'data/imagenet',
    'mini-imagenet': 'data/mini-imagenet',
}


def write_image(path, number=0, mode='RGB', format='JPEG'):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple((value + 20 * number) % 256 for value in COLOUR)
    Image.new('RGB', SIZE, colour).convert(mode).save(path, format)


def quarters(values, size=SIZE):
    """Returns a map (H, W) of four values, a quarter each."""
    width, height = size
    return np.array(values, np.uint8).reshape(2, 2).repeat(height // 2, 0).repeat(width // 2, 1)


def write_label(path, values, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(quarters(values, size)).save(path)


def make_ade20k(root):
    for folder, short in (('training', 'train'), ('validation', 'val')):
        for i in range(4):
            name = f'ADE_{short}_{i + 1:08d}'
            write_image(root / 'images' / folder / f'{name}.jpg', i)
            write_label(root / 'annotations' / folder / f'{name}.png', RAW_VALUES['ade20k'])
    (root / 'objectInfo150.txt').write_text('Idx\tRatio\tTrain\tVal\tStuff\tName\n')


def make_pascal_context59(root):
    lists = root / 'ImageSets' / 'SegmentationContext'
    lists.mkdir(parents=True)
    names = {'train': ['2008_000002', '2008_000003', '2008_000007', '2008_000008'],
             'val': ['2008_000009', '2008_000016', '2008_000019', '2008_000021']}
    for split, stems in names.items():
        (lists / f'{split}.txt').write_text(''.join(f'{stem}\n' for stem in stems))
        for i, stem in enumerate(stems):
            write_image(root / 'JPEGImages' / f'{stem}.jpg', i)
            write_label(root / 'SegmentationClassContext' / f'{stem}.png', RAW_VALUES['pascal_context59'])
    write_image(root / 'JPEGImages' / '2007_000027.jpg')  # VOC2010 has images that Context does not label


def make_coco_stuff164k(root):
    converter = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'dataset_converters' / 'coco_stuff164k.py'
    convert = runpy.run_path(str(converter))['convert_to_trainID']
    for split, numbers in (('train', (9, 25, 30, 34)), ('val', (139, 285, 632, 724))):
        for i, number in enumerate(numbers):
            write_image(root / 'images' / f'{split}2017' / f'{number:012d}.jpg', i)
            label = root / 'annotations' / f'{split}2017' / f'{number:012d}.png'
            write_label(label, RAW_VALUES['coco_stuff164k'])
            convert(str(label), str(root / 'annotations'), split == 'train')


def make_voc2012(root):
    """Label files have a palette in the original; those that the converter writes are grey."""
    lists = root / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    names = {'train': [f'2007_{i:06d}' for i in (32, 39, 63, 68)], 'val': [f'2007_{i:06d}' for i in (33, 42, 61, 123)],
             'aug': [f'2008_{i:06d}' for i in (2, 3, 4, 7)]}
    for split, stems in names.items():
        (lists / f'{split}.txt').write_text(''.join(f'{stem}\n' for stem in stems))
        for i, stem in enumerate(stems):
            write_image(root / 'JPEGImages' / f'{stem}.jpg', i)
            path = root / f'SegmentationClass{"Aug" if split == "aug" else ""}' / f'{stem}.png'
            write_label(path, (7, 0, 20, 7) if split == 'aug' else RAW_VALUES['voc2012'])
            if split != 'aug':
                label = Image.open(path)
                label.putpalette([channel for value in range(256) for channel in (value, 128, 255 - value)])
                label.save(path)


def make_imagenet(root):
    """The layout with lists. As in the original, there are grey and CMYK images, and a PNG by the name of JPEG."""
    lines = {'train': [], 'val': []}
    for label, (wnid, numbers) in enumerate((('n01440764', (18, 36)), ('n01443537', (2, 16)))):
        for number in numbers:
            name = f'{wnid}/{wnid}_{number}.JPEG'
            write_image(root / 'train' / name, number, 'L' if number == 36 else 'CMYK' if number == 2 else 'RGB')
            lines['train'].append(f'{name} {label}\n')
    for i in range(4):
        name = f'ILSVRC2012_val_{i + 1:08d}.JPEG'
        write_image(root / 'val' / name, i, format='PNG' if i == 3 else 'JPEG')
        lines['val'].append(f'{name} {999 - i}\n')
    (root / 'meta').mkdir()
    for split, text in lines.items():
        (root / 'meta' / f'{split}.txt').write_text(''.join(text))


def make_class_folders(root, classes):
    """The layout with a folder for each class: one image in each."""
    for split in ('train', 'val'):
        for i in range(classes):
            wnid = f'n{1440764 + i:08d}'
            write_image(root / split / wnid / f'{wnid}_{i}.JPEG', i)


def make_mini_imagenet(root):
    make_class_folders(root, 100)


MAKERS = {
    'ade20k': make_ade20k,
    'pascal_context59': make_pascal_context59,
    'coco_stuff164k': make_coco_stuff164k,
    'voc2012': make_voc2012,
    'imagenet': make_imagenet,
    'mini-imagenet': make_mini_imagenet,
}


def make(dataset, folder):
    """Writes the tree of a data set at its usual place below ``folder``; returns its root."""
    root = Path(folder) / ROOTS[dataset]
    root.mkdir(parents=True)
    MAKERS[dataset](root)
    return root


def leaf(name):
    """Returns the path of a config."""
    return str(ROOT / 'configs' / f'{name}.py')


def place(dataset):
    """Makes a tree in the current folder, where its config looks for it; returns its root and the config."""
    return make(dataset, Path.cwd()), load_config(leaf(LEAVES[dataset]))


def errors_of(reports):
    """Returns the errors of a data check."""
    return [f'{report.title}: {error.message}' for report in reports for error in report.errors]


def nano_config(folder, name):
    """Writes a config that is the leaf ``name`` with a backbone of 32 channels and 4 blocks; returns its path."""
    change = dict(backbone=dict(arch=dict(
        _delete_=True, embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64)))
    if 'imagenet' in name:
        change['head'] = dict(in_channels=32)
        if name.startswith('locatvit'):
            change['neck'] = dict(num_heads=2)
    elif '_linear_' in name:
        change['backbone']['frozen_stages'] = 4
        change['decode_head'] = dict(in_channels=32)
    else:
        change['backbone']['out_indices'] = (0, 1, 2, 3)
        change['neck'] = dict(in_channels=[32] * 4, out_channels=32)
        change['decode_head'] = dict(in_channels=[32] * 4, channels=32)
        change['auxiliary_head'] = dict(in_channels=32, channels=32)
    loader = dict(batch_size=2, num_workers=0, persistent_workers=False)  # two batches a split
    path = Path(folder) / f'nano-{name}.py'
    path.write_text(f'_base_ = {leaf(name)!r}\nmodel = {change!r}\ntrain_dataloader = {loader!r}\n'
                    f'val_dataloader = test_dataloader = {dict(loader, batch_size=1)!r}\n')
    return path
