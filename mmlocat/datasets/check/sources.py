"""What is known of the official data sets: how many images they have, and the command that brings each part."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import mmseg

_ADE20K = 'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip'
_VOC2010 = 'http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar'
_CONTEXT = 'https://codalabuser.blob.core.windows.net/public/trainval_merged.json'
_COCO = 'http://images.cocodataset.org/zips'
_STUFF = 'http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip'
_IMAGENET_LISTS = 'https://download.openmmlab.com/mmclassification/datasets/imagenet/meta/caffe_ilsvrc12.tar.gz'


@dataclass(frozen=True)
class Source:
    """One official data set.

    Args:
        name: As people call it.
        counts: Images of 'train' and 'val'.
        images: By split, the command that brings the images; {root} is the data root, {parent} and {grandparent}
            the folders above it, {converters} mmseg's folder of converters.
        labels: The same for labels and lists.
        needs: By 'images' and 'labels', what a command needs and cannot bring.
    """

    name: str
    counts: Mapping[str, int]
    images: Mapping[str, str]
    labels: Mapping[str, str]
    needs: Mapping[str, str] = field(default_factory=dict)


def _both(command: str) -> Dict[str, str]:
    return {'train': command, 'val': command}


# unzip and tar make no folders above the one they are given.
_ADE_COMMAND = f'mkdir -p {{parent}} && wget -c {_ADE20K} && unzip -o -q ADEChallengeData2016.zip -d {{parent}}'
SOURCES: Dict[str, Source] = {
    'ADE20KDataset':
    Source('ADE20K', {'train': 20210, 'val': 2000}, _both(_ADE_COMMAND), _both(_ADE_COMMAND)),
    'PascalContextDataset59':
    Source(
        'Pascal Context', {'train': 4998, 'val': 5105},
        _both(f'mkdir -p {{grandparent}} && wget -c {_VOC2010} && '
              'tar -xf VOCtrainval_03-May-2010.tar -C {grandparent}'),
        _both(f'wget -c {_CONTEXT} -P {{root}} && '
              'python {converters}/pascal_context.py {parent} {root}/trainval_merged.json'),
        needs={'labels': 'the Detail API, https://github.com/zhanghang1989/detail-api'}),
    'COCOStuffDataset':
    Source(
        'COCO-Stuff 164k', {'train': 118287, 'val': 5000},
        {split: f'mkdir -p {{root}} && wget -c {_COCO}/{split}2017.zip && '
                f'unzip -o -q {split}2017.zip -d {{root}}/images'
         for split in ('train', 'val')},
        _both(f'mkdir -p {{root}} && wget -c {_STUFF} && '
              'unzip -o -q stuffthingmaps_trainval2017.zip -d {root}/annotations && '
              'python {converters}/coco_stuff164k.py {root} --nproc 8')),
    'ImageNet':
    Source(
        'ImageNet-1K', {'train': 1281167, 'val': 50000}, {
            'train': 'mkdir -p {root}/train && tar -xf ILSVRC2012_img_train.tar -C {root}/train && '
                     'for f in {root}/train/*.tar; do mkdir -p "${{f%.tar}}" && tar -xf "$f" -C "${{f%.tar}}" && '
                     'rm "$f"; done',
            'val': 'mkdir -p {root}/val && tar -xf ILSVRC2012_img_val.tar -C {root}/val'
        },
        _both(f'mkdir -p {{root}}/meta && wget -qO- {_IMAGENET_LISTS} | tar -xz -C {{root}}/meta'),
        needs={'images': 'ILSVRC2012_img_{split}.tar, after logging in at '
                         'https://image-net.org/download-images.php'}),
}
# 60 classes with the background, of the same files.
SOURCES['PascalContextDataset'] = SOURCES['PascalContextDataset59']


def find_source(kind: Any, settings: Mapping[str, Any]) -> Optional[Source]:
    """Returns what is known of a data set.

    Args:
        kind: Its class; a class derived from an official one is another data set.
        settings: Its part of the config.
    """
    # The 10k version of COCO-Stuff has the same class, and a zero label.
    if kind.__name__ == 'COCOStuffDataset' and settings.get('reduce_zero_label'):
        return None
    return SOURCES.get(kind.__name__)


@dataclass(frozen=True)
class Advice:
    """The commands that mend one split.

    Args:
        images: For images that are missing or damaged.
        labels: For labels and lists.
        image_suffix: For images of another suffix.
        label_suffix: For labels of another suffix.
        damaged: For files that are there and no good, where the commands above do not bring them anew.
        values: For labels out of range, likewise.
    """

    images: str
    labels: str
    image_suffix: str
    label_suffix: str
    damaged: str = ''
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
        return Advice(
            place,
            place,
            f'{option}.img_suffix=SUFFIX if all images end so, else convert them',
            f'{option}.seg_map_suffix=SUFFIX if all labels end so, else convert them',
            damaged='make the files anew, or take image and label away together',
            values="correct the labels, or the data set's metainfo.classes and reduce_zero_label")
    folder = Path(root)
    places = dict(
        split=split,
        root=folder,
        parent=folder.parent,
        grandparent=folder.parent.parent,
        converters=Path(inspect.getfile(mmseg)).parent / '.mim' / 'tools' / 'dataset_converters')

    def command(part: str) -> str:
        needs = source.needs.get(part)
        return (getattr(source, part)[split] + (f'  # needs {needs}' if needs else '')).format(**places)

    images, labels = command('images'), command('labels')
    return Advice(images, labels, images, labels)
