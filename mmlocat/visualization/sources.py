"""Finds and reads a user's input: images, label maps, folders, file patterns, videos and cameras."""

from __future__ import annotations

import glob
import itertools
import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, Union

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmlocat.utils import staged

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_KINDS = ' '.join(IMAGES + VIDEOS)
_FPS = 25.0  # of cameras and files that do not state theirs
_CODEC = 'mp4v'  # the one MP4 codec that OpenCV's wheels can write everywhere


@dataclass(frozen=True)
class Source:
    """One input.

    Args:
        path: A file; None for a camera.
        camera: The camera's number.
    """

    path: Optional[Path] = None
    camera: Optional[int] = None

    def __str__(self) -> str:
        return f'camera {self.camera}' if self.path is None else str(self.path)

    @property
    def moves(self) -> bool:
        """Whether it has frames: a video or a camera."""
        return self.path is None or self.path.suffix.lower() in VIDEOS


def find_sources(inputs: Sequence[str]) -> List[Source]:
    """Resolves each input to files or cameras; all inputs are checked before the first one is read.

    Args:
        inputs: Images, videos, folders (their images and videos, not those of folders below), patterns such as
            ``'shots/**/*.png'``, and numbers of cameras.

    Returns:
        One for each file and camera, each file once, in the order given; folders and patterns sorted by name.

    Raises:
        FileNotFoundError: An input does not exist, or a folder or pattern has no images and videos.
        ValueError: An input is a web address, or a file of a kind that is not read.
    """
    found = {}
    for text in inputs:
        for source in _sources_of(text):
            found.setdefault(source.path.resolve() if source.path else source, source)
    return list(found.values())


def _sources_of(text: str) -> List[Source]:
    """Returns what one input names; see ``find_sources``."""
    path = Path(text)
    if '://' in text:
        raise ValueError(f'{text} is a web address; download it first, and give the file')
    if path.is_dir():
        candidates, problem = path.iterdir(), f'folder {text} has no images and videos ({_KINDS})'
    elif path.exists():
        if path.suffix.lower() not in IMAGES + VIDEOS:
            raise ValueError(f'{text} is neither an image nor a video by its suffix ({_KINDS})')
        return [Source(path)]
    elif text.isdecimal():
        return [Source(camera=int(text))]
    elif glob.has_magic(text):
        candidates, problem = map(Path, glob.glob(text, recursive=True)), f'no image or video matches {text} ({_KINDS})'
    else:
        raise FileNotFoundError(f'{text} does not exist; give files, folders, a quoted pattern, '
                                'or the number of a camera')
    files = sorted(file for file in candidates if file.suffix.lower() in IMAGES + VIDEOS and file.is_file())
    if not files:
        raise FileNotFoundError(problem)
    return [Source(file) for file in files]


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
        # Decoded from bytes, for on Windows OpenCV cannot open names with non-ASCII letters, and warns on the console.
        pixels = mmcv.imfrombytes(Path(path).read_bytes(), backend='cv2')
    except cv2.error:  # an empty file
        pixels = None
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image: damaged, or of another kind than its suffix says')
    return pixels


def shrink(picture: np.ndarray, max_side: Optional[int]) -> np.ndarray:
    """Returns a picture whose longer side has at most ``max_side`` px.

    Args:
        picture: Shape (H, W, 3).
        max_side: The limit in px; None leaves the picture as it is.
    """
    height, width = picture.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return picture
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


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


@contextmanager
def open_video(source: Source) -> Iterator[cv2.VideoCapture]:
    """Opens a video file or a camera (mmcv's VideoReader takes no cameras).

    Args:
        source: A video or a camera.

    Raises:
        ValueError: It cannot be opened.
    """
    capture = cv2.VideoCapture(source.camera if source.path is None else str(source.path))
    try:
        if not capture.isOpened():
            if source.path is None:
                raise ValueError(f'camera {source.camera} cannot be opened: is there one of this number (0 is the '
                                 'first), and may this user read it?')
            raise ValueError(f'{source} cannot be opened as a video: damaged, or of a codec that OpenCV lacks')
        yield capture
    finally:
        capture.release()


def frames_of(capture: cv2.VideoCapture, most: Optional[int] = None) -> Iterator[np.ndarray]:
    """Yields at most ``most`` frames, BGR, shape (H, W, 3), uint8."""
    for _ in itertools.count() if most is None else range(most):
        read, frame = capture.read()
        if not read:
            return
        yield frame


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Returns frames a second; 25 if the file or camera does not state them."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and 0 < rate <= 1000 else _FPS


@contextmanager
def write_video(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes an MP4; the file appears when the block succeeds and the result can be read back.

    Args:
        path: Ending in .mp4; its folder is made if needed.
        rate: Frames a second.

    Yields:
        A function that appends a frame: RGB, uint8, all of one even height and width.

    Raises:
        RuntimeError: This build of OpenCV cannot write MP4, or what it wrote cannot be read.
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
        with open_video(Source(temporary)) as capture:
            if next(frames_of(capture), None) is None:
                raise RuntimeError(f'{path}: OpenCV cannot read what it wrote; the file was removed')
