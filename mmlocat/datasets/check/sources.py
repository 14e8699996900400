"""Lists the official data sets, and how many images each has."""

from __future__ import annotations

from typing import Dict, NamedTuple


class Source(NamedTuple):
    """An official data set."""

    name: str  # the section of docs/data.md that shows its layout and the commands that fetch it begins with it
    counts: Dict[str, int]  # number of images in 'train' and 'val', and in other lists by their names


_CONTEXT = Source('Pascal Context', {'train': 4998, 'val': 5105})
# By the class that a config names; a class derived from one of these counts as another data set.
SOURCES = {
    'ADE20KDataset': Source('ADE20K', {'train': 20210, 'val': 2000}),
    'PascalContextDataset59': _CONTEXT,
    'PascalContextDataset': _CONTEXT,  # the same files with 60 classes, background included
    'COCOStuffDataset': Source('COCO-Stuff 164k', {'train': 118287, 'val': 5000}),
    'PascalVOCDataset': Source('Pascal VOC 2012', {'train': 1464, 'aug': 9118, 'val': 1449}),
    'ImageNet': Source('ImageNet-1K', {'train': 1281167, 'val': 50000}),
}
