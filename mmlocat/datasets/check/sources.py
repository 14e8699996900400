"""Describes the official data sets: how many images they have, and the command that downloads each part."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

import mmseg

Command = Union[str, Mapping[str, str]]  # one for both splits, or by split


@dataclass(frozen=True)
class Source:
    """One official data set.

    In commands, {split} is 'train' or 'val', {root} the data root, {parent} and {grandparent} the folders above it,
    {converters} mmseg's folder of converters.

    Args:
        name: Its common name.
        counts: Number of images in 'train' and 'val'.
        images: The command that downloads the images.
        labels: The command that downloads labels and lists.
        needs: By 'images' and 'labels', what a command needs and cannot download.
    """

    name: str
    counts: Mapping[str, int]
    images: Command
    labels: Command
    needs: Mapping[str, str] = field(default_factory=dict)


# unzip and tar do not create the parents of their target folder.
_ADE20K = ('mkdir -p {parent} && wget -c http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip && '
           'unzip -o -q ADEChallengeData2016.zip -d {parent}')
SOURCES: Dict[str, Source] = {
    'ADE20KDataset': Source('ADE20K', {'train': 20210, 'val': 2000}, _ADE20K, _ADE20K),
    'PascalContextDataset59': Source(
        'Pascal Context', {'train': 4998, 'val': 5105},
        'mkdir -p {grandparent} && '
        'wget -c http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar && '
        'tar -xf VOCtrainval_03-May-2010.tar -C {grandparent}',
        'wget -c https://codalabuser.blob.core.windows.net/public/trainval_merged.json -P {root} && '
        'python {converters}/pascal_context.py {parent} {root}/trainval_merged.json',
        needs={'labels': 'the Detail API, https://github.com/zhanghang1989/detail-api'}),
    'COCOStuffDataset': Source(
        'COCO-Stuff 164k', {'train': 118287, 'val': 5000},
        'mkdir -p {root} && wget -c http://images.cocodataset.org/zips/{split}2017.zip && '
        'unzip -o -q {split}2017.zip -d {root}/images',
        'mkdir -p {root} && '
        'wget -c http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip '
        '&& unzip -o -q stuffthingmaps_trainval2017.zip -d {root}/annotations && '
        'python {converters}/coco_stuff164k.py {root} --nproc 8'),
    'ImageNet': Source(
        'ImageNet-1K', {'train': 1281167, 'val': 50000},
        {'train': 'mkdir -p {root}/train && tar -xf ILSVRC2012_img_train.tar -C {root}/train && '
                  'for f in {root}/train/*.tar; do mkdir -p "${{f%.tar}}" && tar -xf "$f" -C "${{f%.tar}}" && '
                  'rm "$f"; done',
         'val': 'mkdir -p {root}/val && tar -xf ILSVRC2012_img_val.tar -C {root}/val'},
        'mkdir -p {root}/meta && '
        'wget -qO- https://download.openmmlab.com/mmclassification/datasets/imagenet/meta/caffe_ilsvrc12.tar.gz | '
        'tar -xz -C {root}/meta',
        needs={'images': 'ILSVRC2012_img_{split}.tar, after logging in at '
                         'https://image-net.org/download-images.php'}),
}
# The same files with 60 classes, background included.
SOURCES['PascalContextDataset'] = SOURCES['PascalContextDataset59']


def find_source(kind: Any, settings: Mapping[str, Any]) -> Optional[Source]:
    """Returns the official data set that a config uses; None if it uses another one.

    Args:
        kind: Its class; a class derived from an official one counts as another data set.
        settings: Its part of the config.
    """
    # The 10k version of COCO-Stuff has the same class, but sets reduce_zero_label.
    if kind.__name__ == 'COCOStuffDataset' and settings.get('reduce_zero_label'):
        return None
    return SOURCES.get(kind.__name__)


@dataclass(frozen=True)
class Advice:
    """The commands, or other advice, that fix one split.

    Args:
        images: For missing images.
        labels: For labels and lists that are missing or wrong.
        image_suffix: For images with another suffix.
        label_suffix: For labels with another suffix.
        damaged_images: For images that cannot be read.
        damaged_labels: For labels that cannot be read or do not fit their image.
        values: For labels out of range.
    """

    images: str = ''
    labels: str = ''
    image_suffix: str = ''
    label_suffix: str = ''
    damaged_images: str = ''
    damaged_labels: str = ''
    values: str = ''


def advise(source: Optional[Source], split: str, loader: str, root: str) -> Advice:
    """Fills in the commands for one split.

    Args:
        source: The official data set, if it is one.
        split: 'train' or 'val'.
        loader: The config's name of the split: 'train', 'val' or 'test'.
        root: The data root.
    """
    option = f'--cfg-options {loader}_dataloader.dataset'
    if source is None:
        place = f'{option}.data_root=FOLDER names another place; docs/data.md shows the layouts'
        anew = 'make the files anew, or take image and label away together'
        return Advice(
            place, place, f'{option}.img_suffix=SUFFIX if all images end so, else convert them',
            f'{option}.seg_map_suffix=SUFFIX if all labels end so, else convert them', anew, anew,
            "correct the labels, or the data set's metainfo.classes and reduce_zero_label")
    folder = Path(root)
    places = dict(split=split, root=folder, parent=folder.parent, grandparent=folder.parent.parent,
                  converters=Path(inspect.getfile(mmseg)).parent / '.mim' / 'tools' / 'dataset_converters')

    def command(part: str) -> str:
        by_split, needs = getattr(source, part), source.needs.get(part)
        text = by_split if isinstance(by_split, str) else by_split[split]
        return (text + (f'  # needs {needs}' if needs else '')).format(**places)

    images, labels = command('images'), command('labels')
    return Advice(images, labels, images, labels, images, labels, labels)
