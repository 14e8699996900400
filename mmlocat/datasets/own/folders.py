"""Finds in a folder which files are images, label maps or classes, and of which split."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from mmlocat.datasets.check.report import examples
from mmlocat.datasets.check.samples import IMAGE_SUFFIXES

from .splits import Split, divide, find_lists, pick, split_of

_IMAGES = r'images?|imgs?|img_dir|jpegimages|leftimg8bit|rgb|photos?|pictures?'
_LABELS = (r'annotations?|anns?|ann_dir|labels?|masks?|gt\w*|ground_?truth|seg(mentations?|maps?|_maps?)?|'
           r'segmentationclass\w*|stuffthingmaps\w*|\w*pixelmaps')
# Maps that some data sets keep beside those that a segmentor learns from.
_NOT_LEARNED = re.compile(r'color|instance|panoptic|polygon', re.IGNORECASE)
# Names by split, by the place of the split's folder.
_Group = Dict[str, Dict[Optional[str], List[str]]]


@dataclass
class Found:
    """What a folder holds.

    Args:
        root: The folder.
        task: 'seg' or 'cls'.
        splits: 'train' and 'val'.
        image_suffix: Ending of the images' names, for segmentation.
        label_suffix: Ending of the label maps' names, for segmentation.
        classes: Names of the classes, for classification.
        numbered: Whether list files give the classes as numbers, whose names they do not know.
        remarks: What a user should know about how it was found.
    """

    root: Path
    task: str
    splits: Dict[str, Split]
    image_suffix: str = ''
    label_suffix: str = ''
    classes: List[str] = field(default_factory=list)
    numbered: bool = False
    remarks: List[str] = field(default_factory=list)

    def images(self, split: Split) -> List[Path]:
        """Returns the paths of a split's images."""
        return [self.root / split.images / f'{name}{self.image_suffix}' for name in split.names]

    def labels(self, split: Split) -> List[Path]:
        """Returns the paths of a split's label maps."""
        return [self.root / split.labels / f'{name}{self.label_suffix}' for name in split.names]


def look_at(root: Path, task: Optional[str] = None, images: str = '', labels: str = '') -> Found:
    """Finds images with their label maps, or with their class folders, below a folder.

    Args:
        root: The folder.
        task: 'seg' or 'cls'; by default 'seg' if there are label maps, or if one of the folders is named.
        images: Folder of the images below ``root``, where its name does not tell.
        labels: Folder of the label maps below ``root``, where its name does not tell.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: What it holds is no data set that can be read; the message says what to change.
    """
    images, labels = _below(root, images, '--images'), _below(root, labels, '--labels')
    task = task or ('seg' if images or labels else None)
    for folder in (root, root / images, root / labels):
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} is no folder; name the one that holds your images and their labels')
    files = sorted(_files(root))
    if not files:
        raise FileNotFoundError(f'{root} holds no image; the suffixes that count are {", ".join(IMAGE_SUFFIXES)}')
    if task != 'cls':
        found = _segmentation(root, files, images, labels)
        if found is not None:
            return found
        _refuse_coco(root)
    if task == 'seg':
        folders = sorted({os.path.dirname(file) or '.' for file in files})
        raise ValueError(f'{root} has no label maps that belong to its images (looked into {examples(folders)}): a '
                         'label map lies in a folder such as "labels" and has the name of its image in a folder such '
                         'as "images"; --images FOLDER and --labels FOLDER name other folders')
    return _classification(root, files)


def _below(root: Path, folder: str, option: str) -> str:
    """Returns a folder that an option names, as a path below ``root`` with / between folders; '' if it names none.

    Raises:
        ValueError: It is ``root`` itself, or not below it.
    """
    if not folder:
        return ''
    path = Path(os.path.normpath(folder))
    if path.is_absolute():
        for top in (os.path.abspath(root), os.path.realpath(root)):
            if Path(top) in path.parents:
                path = path.relative_to(top)
                break
    if path.is_absolute() or path.parts[:1] in ((), ('..', )):
        raise ValueError(f'{option} {folder} is no folder below {root}; name one by its path from there')
    return path.as_posix()


def _files(root: Path) -> Iterator[str]:
    """Yields the image files below a folder, hidden ones left out, with / between folders."""
    for folder, inner, names in os.walk(root, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith('.')]
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.'):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _group(files: Sequence[str], images: str, labels: str) -> Tuple[_Group, _Group]:
    """Returns images and label maps by their folder, in which {} stands for the split, and by split."""
    groups: Tuple[_Group, _Group] = ({}, {})
    for file in files:
        folders = file.split('/')[:-1]
        is_label, last = False, -1
        for named, pattern, kind in ((labels, _LABELS, True), (images, _IMAGES, False)):
            if named:
                ends = len(named.split('/')) - 1 if file.startswith(f'{named}/') else -1
            else:
                ends = next((i for i, name in enumerate(folders) if re.fullmatch(pattern, name, re.IGNORECASE)), -1)
            if ends >= 0:
                is_label, last = kind, ends
                break
        place = next((i for i, name in enumerate(folders[:last + 2]) if split_of(name)), None)
        split = None if place is None else folders[place]
        last = last if place is None else max(last, place)
        key = '/'.join('{}' if i == place else name for i, name in enumerate(folders[:last + 1]))
        groups[is_label].setdefault(key, {}).setdefault(split, []).append('/'.join(file.split('/')[last + 1:]))
    return groups


def _segmentation(root: Path, files: Sequence[str], images: str, labels: str) -> Optional[Found]:
    pictures, maps = _group(files, images, labels)
    matches = []
    for label_folder, label_names in maps.items():
        for image_folder, image_names in pictures.items():
            count, ends = _suffixes(image_names, label_names)
            if count:
                matches.append((count, image_folder, label_folder, ends))
    if not matches:
        return None
    folders = sorted({match[2].replace('{}', 'SPLIT') for match in matches})
    if len(folders) > 1:
        raise ValueError(f'{root} has several folders of label maps: {", ".join(folders)}; name the one to learn from '
                         'with --labels FOLDER')
    _, image_folder, label_folder, (image_suffix, label_suffix) = max(matches)
    if re.search('labelIds', label_suffix):
        raise ValueError(f'the label maps end with {label_suffix}: raw numbers of Cityscapes, of which 19 are learned; '
                         'make the *_labelTrainIds.png first: pip install cityscapesscripts, then '
                         f'CITYSCAPES_DATASET={root} csCreateTrainIdLabelImgs')
    remarks: List[str] = []
    splits: Dict[Optional[str], Split] = {}
    for name in sorted({*pictures[image_folder], *maps[label_folder]}, key=str):
        given, labelled = pictures[image_folder].get(name, []), maps[label_folder].get(name, [])
        stems = {file[:-len(image_suffix)] for file in given if file.endswith(image_suffix)}
        others = [file for file in given if not file.endswith(image_suffix)]
        if others:
            raise ValueError(f'of {len(given):,} images {len(others):,} do not end with {image_suffix} '
                             f'({examples(others)}): a data set of mmseg reads one suffix; save these anew with it')
        known = {file[:-len(label_suffix)] for file in labelled if file.endswith(label_suffix)}
        for kind, lonely in (('images have no label map', stems - known), ('label maps have no image', known - stems)):
            if lonely:
                remarks.append(f'{len(lonely):,} {kind} and are left out ({examples(sorted(lonely))})')
        key = split_of(name or '')
        if key in splits:
            raise ValueError(f'{root} has two folders for one split, {name} among them; keep one')
        alone = not any(file.endswith(label_suffix) for file in given) or image_folder != label_folder
        splits[key] = Split(image_folder.format(name or ''), label_folder.format(name or ''), sorted(stems & known),
                            complete=alone and stems == known)
    lists = find_lists(root)
    if None in splits and len(splits) == 1 and lists:
        split = splits[None]
        splits = pick(split, lists, [split.images, split.labels], [image_suffix, label_suffix])
        remarks.append(f'splits are those of {_names(lists)}')
    elif lists:
        remarks.append(f'{_names(lists)}: not used, since folders name the splits')
    if 'pixelmaps' in label_folder or 'stuffthingmaps' in label_folder:
        remarks.append("these are COCO-Stuff's own numbers, 182 with gaps; docs/data.md has the command that makes "
                       '*_labelTrainIds.png of them, or --convert numbers them anew')
    return Found(root, 'seg', divide(splits, remarks), image_suffix, label_suffix, remarks=remarks)


def _names(lists: Dict[str, Path]) -> str:
    return ', '.join(str(path) for path in lists.values())


def _suffixes(images: Dict[Optional[str], List[str]], labels: Dict[Optional[str], List[str]]) \
        -> Tuple[int, Tuple[str, str]]:
    """Returns how many label maps have an image, and the endings of images and label maps by which they do."""
    names = [name for found in images.values() for name in found]
    tail = os.path.commonprefix([os.path.basename(name)[::-1] for name in names])[::-1]
    endings = {os.path.splitext(names[0])[1], Counter(os.path.splitext(name)[1] for name in names).most_common(1)[0][0]}
    if '_' in tail:  # as in city_000001_leftImg8bit.png
        endings.add(tail[tail.index('_'):])
    best = (0, ('', ''))
    for ending in sorted(endings, key=len):
        count: Counter = Counter()
        for split, found in labels.items():
            stems = {name[:-len(ending)] for name in images.get(split, ()) if name.endswith(ending)}
            count.update(filter(None, (_remainder(name, stems) for name in found)))
        learned = {rest: number for rest, number in count.items() if not _NOT_LEARNED.search(rest)}
        if learned:
            rest = max(learned, key=lambda rest: ('labelTrainIds' in rest, learned[rest]))
            best = (learned[rest], (ending, rest)) if learned[rest] > best[0] else best
    return best


def _remainder(name: str, stems: set) -> Optional[str]:
    """Returns what a label map's name has behind the name of an image, or None if it begins with none."""
    for end in reversed([match.start() for match in re.finditer(r'[._-]', name)]):
        if name[:end] in stems:
            return name[end:]
    return None


def _refuse_coco(root: Path) -> None:
    """Raises an error for files of COCO's annotations, since a segmentor learns from maps of pixels."""
    for path in sorted([*root.glob('*.json'), *root.glob('annotations/*.json')]):
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            images, objects, categories = (len(content[key]) for key in ('images', 'annotations', 'categories'))
        except (ValueError, KeyError, TypeError):
            continue  # another kind of file
        raise ValueError(
            f'{path} is a COCO file: {images:,} images, {objects:,} objects of {categories:,} categories as outlines. '
            'A segmentor learns from a PNG of class numbers for each image: draw the outlines with pycocotools '
            "(COCO.annToMask gives an object's pixels), 255 where there is none, into labels/ beside images/; for "
            'COCO-Stuff, docs/data.md has the commands. With class folders, --task cls')


def _classification(root: Path, files: Sequence[str]) -> Found:
    lists = find_lists(root)
    remarks: List[str] = []
    raw: Dict[Optional[str], Tuple[str, List[str], List[str]]] = {}  # folder, names, classes
    listed = bool(lists) and not any(split_of(file.split('/')[0]) and file.count('/') > 1 for file in files)
    if listed:
        known = set(files)
        for name, path in lists.items():
            lines = [line.strip().rsplit(maxsplit=1) for line in path.read_text(encoding='utf-8').splitlines()
                     if line.strip()]
            wrong = [' '.join(line) for line in lines if len(line) != 2 or line[0] not in known]
            if wrong:
                raise ValueError(f'{path} has {len(wrong):,} lines that are no image below {root} and its class '
                                 f'({examples(wrong)}); a line is a path, a space and a class')
            raw[None if name == 'all' else name] = ('', [line[0] for line in lines], [line[1] for line in lines])
        remarks.append(f'splits and classes are those of {_names(lists)}')
    else:
        if lists:
            remarks.append(f'{_names(lists)}: not used, since folders name the splits and classes')
        for file in files:
            parts = file.split('/')
            split = split_of(parts[0]) if len(parts) > 2 else None
            inner = parts[1:] if split else parts
            if len(inner) < 2:
                raise ValueError(f'{root / file} lies in no class folder: classification needs train/CLASS/IMAGE or '
                                 'CLASS/IMAGE, or lists of a path and a class a line; segmentation needs label maps')
            folder, names, classes = raw.setdefault(split, (parts[0] if split else '', [], []))
            names.append('/'.join(inner))
            classes.append(inner[0])
    every = {name for _, _, classes in raw.values() for name in classes}
    numbered = listed and all(name.isdigit() for name in every)
    if numbered:
        order = [str(number) for number in range(max(map(int, every)) + 1)]
    else:
        order = sorted(every)
    if len(order) < 2:
        raise ValueError(f'{root} has one class alone, {order[0]}; a classifier needs two class folders or more')
    place = {name: i for i, name in enumerate(order)}
    splits = {name: Split(folder, '', names, [place[cls] for cls in classes], not listed and set(classes) == every)
              for name, (folder, names, classes) in raw.items()}
    for name, split in splits.items():
        missing = sorted(every - set(raw[name][2]))
        if missing:
            remarks.append(f'{name or "the folder"}: no image of {examples(missing)}')
        # mmpretrain's CustomDataset reads no other suffixes from folders; from a list it does.
        read = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
        split.complete &= all(file.lower().endswith(read) for file in split.names)
    return Found(root, 'cls', divide(splits, remarks), classes=order, numbered=numbered, remarks=remarks)
