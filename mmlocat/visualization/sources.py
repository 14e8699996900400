"""Finds and reads a user's input: images, label maps, folders, file patterns, videos and cameras."""

from __future__ import annotations

import glob
import itertools
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, Union

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmlocat.utils import staged

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.npy')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_CODEC = 'mp4v'  # the one MP4 codec that OpenCV's wheels can write everywhere
Source = Union[Path, int]  # a file, or the number of a camera


def moves(source: Source) -> bool:
    """Returns whether a source has frames: a video or a camera."""
    return isinstance(source, int) or source.suffix.lower() in VIDEOS


def find_sources(inputs: Sequence[str]) -> List[Source]:
    """Resolves each input to files or cameras; all inputs are checked before the first one is read.

    Args:
        inputs: Images, videos, folders (their images and videos, not those of folders below), patterns such as
            ``'shots/**/*.png'``, and numbers of cameras.

    Returns:
        Each file and camera once, in the order given; folders and patterns sorted by name.

    Raises:
        FileNotFoundError: An input names no image, video or camera.
    """
    found = {}
    for text in inputs:
        path = Path(text)
        if path.is_file():
            candidates = [path]
        elif path.is_dir():
            candidates = sorted(path.iterdir())
        elif text.isdecimal():
            found.setdefault(int(text), int(text))
            continue
        else:
            candidates = sorted(map(Path, glob.glob(text, recursive=True)))
        files = [file for file in candidates if file.suffix.lower() in IMAGES + VIDEOS and file.is_file()]
        if not files:
            raise FileNotFoundError(f'{text} names no image or video ({" ".join(IMAGES + VIDEOS)}); give files, '
                                    'folders, a quoted pattern, or the number of a camera')
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_image(path: Union[str, Path]) -> np.ndarray:
    """Returns an image as BGR, shape (H, W, 3), uint8, turned as its camera says.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be decoded.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'image {path} does not exist')
    try:
        pixels = mmcv.imread(str(path), backend='cv2')
    except cv2.error:  # an empty file
        pixels = None
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image: damaged, or of another kind than its suffix says')
    return pixels


def shrink(picture: np.ndarray, max_side: Optional[int]) -> np.ndarray:
    """Returns an image (H, W, C) whose longer side has at most ``max_side`` px; None leaves it as it is."""
    if max_side is None or max(picture.shape[:2]) <= max_side:
        return picture
    shrunk = mmcv.imrescale(picture, (max_side, max_side), interpolation='area')
    return shrunk.reshape(*shrunk.shape[:2], -1)  # OpenCV drops a single channel


def read_labels(path: Union[str, Path], shape: Optional[Tuple[int, int]] = None) -> np.ndarray:
    """Reads a map of labels, one byte a pixel.

    Args:
        path: A picture of one channel; of a palette picture the indices are read.
        shape: Height and width to resize it to, nearest pixel; None keeps its own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read as such a picture.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'label map {path} does not exist')
    try:
        with Image.open(path) as file:
            if file.mode not in ('L', 'P'):
                raise ValueError(f'its mode is {file.mode}')
            if shape is not None and abs(file.size[0] / file.size[1] / (shape[1] / shape[0]) - 1) > 0.1:
                raise ValueError(f'it is {file.size[0]} x {file.size[1]} px, and its image, as shown, {shape[1]} x '
                                 f'{shape[0]}: is the image turned by its EXIF data, and the labels are not?')
            return np.asarray(file if shape is None else file.resize(shape[::-1], Image.Resampling.NEAREST))
    except (OSError, SyntaxError, ValueError) as error:  # all that Pillow raises for damaged files
        raise ValueError(f'{path} cannot be read as a label map of one byte a pixel ({error})') from error


def open_video(source: Source) -> cv2.VideoCapture:
    """Opens a video file or a camera (mmcv's VideoReader takes no cameras).

    Args:
        source: A video or a camera.

    Raises:
        ValueError: It cannot be opened.
    """
    camera = isinstance(source, int)
    capture = cv2.VideoCapture(source if camera else str(source))
    if not capture.isOpened():
        raise ValueError(f'camera {source} cannot be opened: is there one of this number (0 is the first), and may '
                         'this user read it?' if camera else
                         f'{source} cannot be opened as a video: damaged, or of a codec that OpenCV lacks')
    return capture


def frames_of(capture: cv2.VideoCapture, most: Optional[int] = None) -> Iterator[np.ndarray]:
    """Yields at most ``most`` frames, BGR, shape (H, W, 3), uint8."""
    for _ in itertools.count() if most is None else range(most):
        read, frame = capture.read()
        if not read:
            return
        yield frame


@contextmanager
def write_video(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes an MP4; the file appears when the block succeeds.

    Args:
        path: Ending in .mp4; its folder is made if needed.
        rate: Frames a second.

    Yields:
        A function that appends a frame: RGB, uint8, all of one even height and width.

    Raises:
        RuntimeError: This build of OpenCV cannot write MP4.
    """
    writer = cv2.VideoWriter()

    def append(frame: np.ndarray) -> None:
        if not writer.isOpened():
            writer.open(str(temporary), cv2.VideoWriter_fourcc(*_CODEC), rate, frame.shape[1::-1])
            if not writer.isOpened():
                raise RuntimeError(f'{path} cannot be written: OpenCV {cv2.__version__} here has no {_CODEC} encoder; '
                                   'pip install opencv-python has one')
        writer.write(np.ascontiguousarray(frame[..., ::-1]))

    with staged(path) as temporary:
        try:
            yield append
        finally:
            writer.release()
