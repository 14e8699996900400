"""What a user may name as input: images, folders, patterns, videos and cameras."""

from __future__ import annotations

import glob
import math
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Union

import cv2
import mmcv
import numpy as np

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_FPS = 25.0  # of cameras and files that do not state theirs
_CODEC = 'mp4v'  # the one MP4 codec that OpenCV's wheels can write everywhere


class Source:
    """One input.

    Args:
        path: A file; None for a camera.
        camera: The camera's number.
    """

    def __init__(self, path: Optional[Path] = None, camera: Optional[int] = None) -> None:
        self.path, self.camera = path, camera

    def __str__(self) -> str:
        return f'camera {self.camera}' if self.path is None else str(self.path)

    @property
    def moves(self) -> bool:
        """Whether it has frames: a video or a camera."""
        return self.path is None or self.path.suffix.lower() in VIDEOS


def find_sources(inputs: Sequence[str]) -> List[Source]:
    """Finds out what each input means; all of them are looked at before the first is read.

    Args:
        inputs: Images, videos, folders (their images and videos, not those of folders below), patterns such as
            ``'shots/**/*.png'``, and numbers of cameras.

    Returns:
        One for each file and camera, each file once, in the order given; folders and patterns sorted by name.

    Raises:
        FileNotFoundError: An input does not exist, or a folder or pattern has no images and videos.
        ValueError: An input is a web address, or a file of a kind that is not read.
    """
    found: List[Source] = []
    for text in inputs:
        path = Path(text)
        if '://' in text:
            raise ValueError(f'{text} is a web address; download it first, and give the file')
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES + VIDEOS)
            if not files:
                raise FileNotFoundError(f'folder {text} has no images and videos ({_kinds()})')
        elif path.exists():
            if path.suffix.lower() not in IMAGES + VIDEOS:
                raise ValueError(f'{text} is neither an image nor a video by its suffix ({_kinds()})')
            files = [path]
        elif text.isdecimal():
            found.append(Source(camera=int(text)))
            continue
        elif glob.has_magic(text):
            matches = sorted(map(Path, glob.glob(text, recursive=True)))
            files = [file for file in matches if file.is_file() and file.suffix.lower() in IMAGES + VIDEOS]
            if not files:
                raise FileNotFoundError(f'no image or video matches {text} ({_kinds()})')
        else:
            raise FileNotFoundError(f'{text} does not exist; give files, folders, a quoted pattern, '
                                    'or the number of a camera')
        known = {source.path.resolve() for source in found if source.path}
        found += [Source(file) for file in files if file.resolve() not in known]
    return found


def _kinds() -> str:
    return ' '.join(IMAGES + VIDEOS)


def read_image(path: Union[str, Path]) -> np.ndarray:
    """Returns an image as BGR, shape (H, W, 3), uint8, turned as its camera says.

    Args:
        path: The file.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        # From bytes: OpenCV opens no names with letters outside ASCII on Windows, and warns on the console.
        pixels = mmcv.imfrombytes(Path(path).read_bytes(), backend='cv2')
    except cv2.error:  # an empty file
        pixels = None
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image: damaged, or of another kind than its suffix says')
    return pixels


@contextmanager
def open_video(source: Source) -> Iterator[cv2.VideoCapture]:
    """Opens a video file or a camera.

    Args:
        source: One that moves.

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
    """Yields frames as BGR, shape (H, W, 3), uint8, ``most`` at most."""
    count = 0
    while most is None or count < most:
        read, frame = capture.read()
        if not read:
            return
        count += 1
        yield frame


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Returns frames a second; what a file or camera leaves unsaid is taken as 25."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.mp4')
    writer: List[cv2.VideoWriter] = []

    def append(frame: np.ndarray) -> None:
        if not writer:
            size = (frame.shape[1], frame.shape[0])
            writer.append(cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*_CODEC), rate, size))
            if not writer[0].isOpened():
                raise RuntimeError(f'{path} cannot be written: OpenCV {cv2.__version__} here has no {_CODEC} encoder; '
                                   'pip install opencv-python has one')
        writer[0].write(np.ascontiguousarray(frame[..., ::-1]))

    try:
        yield append
        if writer:
            writer[0].release()
            with open_video(Source(temporary)) as capture:
                if next(frames_of(capture), None) is None:
                    raise RuntimeError(f'{path}: OpenCV cannot read what it wrote; the file was removed')
            os.replace(temporary, path)
    finally:
        if writer:
            writer[0].release()
        if temporary.exists():
            temporary.unlink()
