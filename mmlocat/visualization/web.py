"""The web page of ``make app``: the user drops a picture, and sees what models predict and what a patch attends to.

It works without a network: the browser's own fonts, no analytics; nothing is fetched from or sent to anywhere else.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence

import numpy as np

from mmlocat.datasets import DigitScenesSegmentation
from mmlocat.models.building import image_channels
from mmlocat.utils import first_line, require_modules

from .attention_pages import Subject, draw_block
from .blocks import Maps
from .maps import collect, prepare_image
from .overlay import compose, pixels_of
from .pictures import as_picture, load_image, shown_of, swap_colours
from .segmentor import Predictor, Segmentor
from .sources import find_sources, moves, shrink

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when gradio is imported, which comes next
require_modules(('gradio', ), 'app', 'mmlocat.visualization.web')
import gradio as gr  # noqa: E402

_OWN_MAX_SIDE = 512  # px, for models of the user's own: a click on a CPU must not take a minute
_CSS = '#picture img {image-rendering: pixelated; cursor: crosshair}'


def build_page(models: Sequence[Predictor], samples: Sequence[np.ndarray]) -> gr.Blocks:
    """Builds the page.

    Args:
        models: All of them segment or classify the picture; Gaussians and attention are those of the first.
        samples: Images to pick from, shape (H, W, channels), RGB if they have three.

    Returns:
        The page, to be launched by ``launch``.

    Raises:
        TypeError: The attention of the first model's backbone cannot be read.
    """
    first, channels = models[0], image_channels(models[0].model)
    segmentors = [model for model in models if isinstance(model, Segmentor)]
    classifiers = [model for model in models if not isinstance(model, Segmentor)]

    def look(image: np.ndarray) -> Maps:
        return collect(first.model, prepare_image(first.model, image))

    num_blocks = len(look(np.zeros((64, 64, channels), np.uint8)).blocks)
    with gr.Blocks(title=f'mmlocat: {first.title} ({first.origin})', analytics_enabled=False) as page:
        subject = gr.State()
        gr.Markdown(_heading(models, channels))
        with gr.Row():
            file = gr.File(label='Drop a picture', height=130, elem_id='file', min_width=240)
            gallery = gr.Gallery([as_picture(image) for image in samples], show_label=False, columns=12, height=130,
                                 format='png', allow_preview=False, buttons=[], elem_id='samples', scale=3,
                                 visible=len(samples) > 0)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                # No label: gradio would lay it over the picture, where it takes clicks.
                picture = gr.Image(show_label=False, interactive=False, format='png', elem_id='picture', height=480,
                                   buttons=[])
                block = gr.Slider(1, num_blocks, value=num_blocks, step=1, label='Block', elem_id='block', buttons=[])
            with gr.Column(scale=3, min_width=480):
                attention = gr.Image(show_label=False, interactive=False, format='png', elem_id='attention')
        answers: List[Any] = []
        if segmentors:
            gr.Markdown('## Segmentations by ' + ' and '.join(model.title for model in segmentors))
            answers = [gr.Image(show_label=False, interactive=False, format='png', elem_id='segmentation')]
        if classifiers:
            gr.Markdown('## The five most likely classes')
            with gr.Row():
                answers += [gr.Label(label=model.title, elem_id='classes') for model in classifiers]

        def enlargement(image: np.ndarray) -> int:  # so that patches can be clicked; gradio itself only shrinks
            return max(1, 480 // max(image.shape[:2]))

        def query(image: np.ndarray, maps: Maps, x: int, y: int) -> Subject:
            return Subject(image, maps, [(y // maps.patch_size[0], x // maps.patch_size[1])], first.title)

        def answer(image: np.ndarray, seen: np.ndarray) -> List:
            """Returns what the models predict, a value for each component of ``answers``."""
            given = swap_colours(image)
            sheets = [compose(seen, [model.predict(given) for model in segmentors])] if segmentors else []
            return sheets + [model.predict(given) for model in classifiers]

        def draw(chosen: Optional[Subject], number: int) -> Any:
            return chosen and pixels_of(draw_block(chosen, chosen.maps.blocks[number - 1]))

        def start(image: np.ndarray, number: int) -> List:
            """Shows a new picture, with its middle patch chosen."""
            seen = as_picture(image)
            chosen = query(seen, look(image), image.shape[1] // 2, image.shape[0] // 2)
            scale = enlargement(image)
            return [chosen, seen.repeat(scale, 0).repeat(scale, 1), draw(chosen, number), *answer(image, seen)]

        def drop(path: str, number: int) -> List:
            # The upload field is cleared at once (the first value, None), so that the next file can be dropped.
            try:
                image = _read(path, first)
            except ValueError as error:
                name = Path(path).name
                gr.Warning(f'{name} ({Path(path).stat().st_size} bytes) cannot be read as a picture: drop a PNG, JPEG, '
                           'BMP, TIFF or WebP file' + ('' if channels == 3 else f' of {channels} channels')
                           + f' ({first_line(error).replace(path, name)})')
                return [None, *[gr.skip() for _ in everything]]
            return [None, *start(image, number)]

        def pick(number: int, event: gr.SelectData) -> List:
            return start(samples[event.index], number)

        def click(chosen: Subject, number: int, event: gr.SelectData) -> List:
            x, y = (side // enlargement(chosen.image) for side in event.index)
            chosen = query(chosen.image, chosen.maps, x, y)
            return [chosen, draw(chosen, number)]

        # One request at a time, for attention is read through hooks on the model.
        options = dict(show_progress='hidden', concurrency_id='model', concurrency_limit=1)
        everything = [subject, picture, attention, *answers]
        file.upload(drop, [file, block], [file, *everything], **options)
        gallery.select(pick, block, everything, **options)
        picture.select(click, [subject, block], [subject, attention], **options)
        block.input(draw, [subject, block], attention, trigger_mode='always_last', **options)
        if len(samples):
            page.load(lambda number: start(samples[0], number), block, everything, **options)
    return page


def _heading(models: Sequence[Predictor], channels: int) -> str:
    """Returns the head of the page: the models, the files they were loaded from, and what to do."""
    return '\n\n'.join([f'# What {models[0].title} looks at',
                        *[f'{model.title}: `{model.origin}`' for model in models],
                        f'Drop a picture or pick a sample, then click a patch{shown_of(channels)}.'])


def launch(page: gr.Blocks, host: str, port: Optional[int], block: bool = True) -> str:
    """Serves a page of ``build_page`` and returns its address.

    Args:
        page: The page.
        host: Address to listen on.
        port: None for the first free one from 7860 on.
        block: Whether to return only when the server ends.

    Raises:
        OSError: The port is taken, or none is free.
    """
    # gradio's own theme would fetch fonts from a web service.
    theme = gr.themes.Base(font=['ui-sans-serif', 'system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    _, address, _ = page.launch(server_name=host, server_port=port, share=False, show_error=True,
                                prevent_thread_lock=not block, max_file_size='50mb', theme=theme, css=_CSS,
                                footer_links=[])
    return address


def app_job(args: argparse.Namespace, load: Callable[[], List[Predictor]]) -> Callable[[], None]:
    """Prepares the page; errors in models and samples are raised here, before it is served.

    Args:
        args: The arguments of ``demo/app.py``. Their defaults are filled in here: the demo's models are compared, and
            pictures for a user's own model are shrunk.
        load: Loads the models; called once ``args`` are complete.

    Returns:
        A function that serves it until it is interrupted.

    Raises:
        FileNotFoundError: A model or sample does not exist.
        ValueError: A config is of an unsupported kind, or a sample cannot be read.
        RuntimeError: A checkpoint cannot be read or is of another model.
        TypeError: The attention of the first model's backbone cannot be read.
    """
    if args.config is None and args.against is None:
        args.against = []
    if args.config is not None and args.max_side is None:
        args.max_side = _OWN_MAX_SIDE
    models = load()
    if args.samples:
        paths = [source for source in find_sources(args.samples) if not moves(source)]
    else:  # for the demo's models the first scenes of the test split
        scenes = DigitScenesSegmentation('test') if args.config is None else []
        paths = [scenes.get_data_info(number)['img_path'] for number in range(min(8, len(scenes)))]
    page = build_page(models, [_read(path, models[0]) for path in paths])

    def serve() -> None:
        try:
            launch(page, args.host, args.port)
        except OSError as error:
            raise SystemExit(f'Error: {error} Give another --port or --host.') from error

    return serve


def _read(path: str, model: Predictor) -> np.ndarray:
    """Reads an image for a model, RGB if it has three channels, shrunk to the model's ``max_side``."""
    return swap_colours(shrink(load_image(path, model.model), model.max_side))
