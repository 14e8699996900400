"""Goes the whole way from a folder of data to a config, and says what it finds."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, List, Optional

from mmseg.datasets import CityscapesDataset

from mmlocat.utils import check_folder

from .config_text import choose_crop, final_checkpoint, list_paths, read_base, relative_path, write_config
from .folders import Found, look_at
from .labels import IGNORED, Classes, Survey, convert, name_classes, read_classes, survey

_BASES = dict(seg='locatvit_upernet_ade20k', cls='locatvit-tiny_imagenet')
_SHOWN, _MOST = 30, 3  # values or classes that are listed; sizes and modes


def make_config(data: str, out: Optional[str] = None, *, task: Optional[str] = None, base: Optional[str] = None,
                images: str = '', labels: str = '', zero_is_unlabelled: bool = False,
                converted: Optional[str] = None, crop: Optional[int] = None, length: Optional[int] = None,
                workers: int = 4, count: Optional[int] = None, force: bool = False, progress: bool = False,
                say: Callable[[str], object] = print) -> Path:
    """Looks at a folder of data, says what it holds, writes a config for it, and says what to do with it.

    Args:
        data: The folder.
        out: The config; ``my_configs/NAME.py`` by default.
        task: 'seg' or 'cls'; what fits by default.
        base: Name or file of the config to build on.
        images: Folder of the images below ``data``, where its name does not tell.
        labels: Folder of the label maps below ``data``, where its name does not tell.
        zero_is_unlabelled: Whether 0, or black, is no class.
        converted: Folder for label maps written anew as class numbers, if they need it.
        crop: Side of the training crop, in pixels.
        length: Iterations or epochs of the training.
        workers: Processes that load images.
        count: How many files to open; None opens all.
        force: Whether files that are there are replaced.
        progress: Whether to draw a progress bar.
        say: Gets the findings, line by line.

    Returns:
        The path of the config.

    Raises:
        FileNotFoundError: A folder or the base config is not there.
        ValueError: The data, or an option, cannot be used; the message says what to change.
    """
    root = Path(data)
    found = look_at(root, task, images, labels)
    path = Path(out or f'my_configs/{os.path.basename(os.path.abspath(root))}.py')
    if path.suffix != '.py':
        raise ValueError(f'--out {path} is no name of a config; it ends with .py')
    check_folder('the folder of --out', path.parent)
    if converted:
        check_folder('--convert', converted)
    config = read_base(base or _BASES[found.task], found.task)
    for target in [path, *list_paths(path, found)]:
        if target.exists() and not force:
            raise ValueError(f'{target} is there already; --out FILE names another, --force replaces it')
    names, colours = read_classes(root)
    splits = list(found.splits.values())
    pictures = [image for split in splits for image in found.images(split)]
    maps = [label for split in splits for label in found.labels(split)] if found.task == 'seg' else []
    looked = survey(pictures, maps, count, progress)
    for line in _findings(found, looked):
        say(line)
    if found.task == 'seg':
        if not names and 'labelTrainIds' in found.label_suffix and 'leftImg8bit' in found.image_suffix:
            names, colours = (list(CityscapesDataset.METAINFO[key]) for key in ('classes', 'palette'))
        classes, partly = None, looked.maps < len(maps)
        try:
            classes = name_classes(looked, names, colours, zero_is_unlabelled)
        except ValueError:
            if not partly:
                raise
        if classes is None or partly and classes.numbers is not None:
            # The others may make sense of it, and a value of theirs alone would be written as unlabelled.
            say(f'  these label maps need a look at each: all {len(maps):,} are opened, so that no class is missed')
            looked = survey(pictures, maps, None, progress)
            classes = name_classes(looked, names, colours, zero_is_unlabelled)
    else:
        classes = Classes(_class_names(found, names), [])
        if names and not found.numbered:
            classes.remarks.append('classes.txt is not used: the classes have names of their own')
    for line in _meaning(found, looked, classes):
        say(line)
    if classes.numbers is not None:
        _convert_all(found, classes, converted, force)
    crop = crop or choose_crop(config, found.task, looked.short_side)
    written = write_config(path, found, classes, config, crop=crop, length=length, workers=workers)
    say(f'Crop {crop} px. Written: {", ".join(file.as_posix() for file in written)}\n\nNext:')
    for line in _next(path, found):
        say(f'  {line}')
    return path


def _class_names(found: Found, names: List[str]) -> List[str]:
    """Returns the names of ``classes.txt`` where a list numbers the classes; folders have their own."""
    if not names or not found.numbered:
        return found.classes
    if len(names) < len(found.classes):
        raise ValueError(f'classes.txt has {len(names)} names, the lists number classes up to '
                         f'{len(found.classes) - 1}; add the missing names')
    return names


def _most(counter: Counter, show: Callable[[object], str] = str) -> str:
    """Returns the most frequent entries with their numbers."""
    text = ', '.join(f'{show(value)} ({count:,})' for value, count in counter.most_common(_MOST))
    return text + (f' and {len(counter) - _MOST:,} more' if len(counter) > _MOST else '')


def _findings(found: Found, looked: Survey) -> Iterator[str]:
    """Yields what the folder holds."""
    what = 'images with label maps: segmentation' if found.task == 'seg' else 'images of classes: classification'
    yield f'{found.root}: {sum(len(split.names) for split in found.splits.values()):,} {what}'
    for name, split in found.splits.items():
        place = (found.root / split.images).as_posix()
        yield f'  {name}: {len(split.names):,} in {place}' + (f' and {split.labels}' if split.labels else '')
    opened = sum(looked.sizes.values())
    yield (f'  {opened:,} opened; sizes {_most(looked.sizes, lambda size: f"{size[0]} x {size[1]}")}, modes '
           f'{_most(looked.image_modes)}')
    if any(mode.startswith('I') for mode in looked.image_modes):
        yield '  remark: images of 16 bits are read as 8 bits'
    if looked.maps:
        modes = _most(looked.modes)
        kind = ': colours' if looked.coloured else ': numbers with a palette, read as numbers' if looked.palette else ''
        yield f'  label maps of mode {modes}{kind}'
    for remark in found.remarks:
        yield f'  remark: {remark}'


def _meaning(found: Found, looked: Survey, classes: Classes) -> Iterator[str]:
    """Yields the classes with their shares, and remarks about them."""
    if found.task == 'cls':
        counts = Counter(number for split in found.splits.values() for number in split.numbers)
        shares = [f'{number} {name}: {counts[number]:,}' for number, name in enumerate(classes.names)]
    else:
        shares = []
        for value in sorted(looked.values):
            if classes.numbers is not None:
                number = classes.numbers.get(value)
            else:
                number = None if value == IGNORED or not value and classes.reduce_zero_label else \
                    value - classes.reduce_zero_label
            meaning = 'unlabelled' if number is None else classes.names[number]
            shares.append(f'{value} {meaning}: {looked.share(value):.1%} of the pixels')
    yield f'  {len(classes.names)} classes:'
    yield from (f'    {line}' for line in shares[:_SHOWN])
    if len(shares) > _SHOWN:
        yield f'    and {len(shares) - _SHOWN} more'
    for remark in classes.remarks:
        yield f'  remark: {remark}'


def _convert_all(found: Found, classes: Classes, converted: Optional[str], force: bool) -> None:
    """Writes all label maps anew, and has ``found`` name these.

    Raises:
        ValueError: No folder is given, there is something in it, or the maps would come among the data.
    """
    if converted is None:
        raise ValueError('these label maps cannot be learned from as they are; run again with --convert FOLDER, which '
                         'writes them anew as class numbers there and leaves yours as they are')
    folder = Path(converted)
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ValueError(f'--convert {folder} is no empty folder; name another, or --force replaces files in it')
    assert classes.numbers is not None
    suffix = re.sub(r'\.\w+$', '.png', found.label_suffix)
    jobs = [(source, folder / split.labels / f'{name}{suffix}') for split in found.splits.values()
            for name, source in zip(split.names, found.labels(split))]
    sources = [path for split in found.splits.values() for path in (*found.images(split), *found.labels(split))]
    # A file may be a link, and so may its folder.
    theirs = {os.path.dirname(os.path.realpath(path)) for path in sources}
    theirs |= {os.path.realpath(place) for place in {path.parent for path in sources}}
    for _, target in jobs:
        if os.path.dirname(os.path.realpath(target)) in theirs:
            raise ValueError(f'--convert {folder} would write {target} among your own files; name another folder')
    for source, target in jobs:
        convert(source, target, classes.numbers)
    root = Path(os.path.realpath(found.root))
    for split in found.splits.values():
        place = Path(os.path.realpath(folder / split.labels))
        # Behind a symbolic link, '..' is not the folder that its text names. Without one a relative path stays right
        # where data and maps are moved together.
        linked = os.path.abspath(found.root) != str(root) and root not in place.parents
        split.labels = place.as_posix() if linked else relative_path(place, root)
    found.label_suffix = suffix


def _next(path: Path, found: Found) -> List[str]:
    """Returns the commands that check, train, test and look."""
    checkpoint = shlex.quote((Path('work_dirs') / path.stem / final_checkpoint(path)).as_posix())
    image = shlex.quote(found.images(found.splits['val'])[0].as_posix())
    look = 'demo/image_demo.py' if found.task == 'seg' else 'tools/analysis/attention_maps.py'
    name = shlex.quote(path.as_posix())
    return [f'python tools/data/check.py {name}', f'python tools/train.py {name}',
            f'python tools/test.py {name} {checkpoint}',
            f'python {look} {image} --config {name} --checkpoint {checkpoint}']
