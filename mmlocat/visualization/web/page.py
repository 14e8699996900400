"""Builds and serves the web page with gradio. It works without a network: the browser's own fonts, no analytics."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import gradio as gr
import numpy as np

from mmlocat.visualization.clicks import thumbnail

from .inspector import Inspector

_FONTS = ['ui-sans-serif', 'system-ui', 'sans-serif']
_CSS = '#picture img {image-rendering: pixelated; cursor: crosshair}'


def build_page(inspector: Inspector, samples: Sequence[np.ndarray]) -> gr.Blocks:
    """Builds the page.

    Args:
        inspector: Computes what it shows.
        samples: Pictures to pick from, RGB, shape (H, W, 3), uint8.

    Returns:
        The page, to be launched by ``launch``.
    """
    titles = ' and '.join(model.title for model in inspector.models)
    with gr.Blocks(title='mmlocat', analytics_enabled=False) as page:
        picture, patch = gr.State(), gr.State()
        gr.Markdown(f'# What {inspector.models[0].title} looks at\nDrop a picture or pick a sample, then click a '
                    'patch. Ellipses: its Gaussian of each head at one σ. Maps: its attention with and without them.')
        with gr.Row():
            file = gr.File(label='Drop a picture', height=130, elem_id='file', min_width=240)
            if len(samples):
                gallery = gr.Gallery([thumbnail(sample) for sample in samples], show_label=False,
                                     columns=min(12, len(samples)), height=130, format='png', allow_preview=False,
                                     buttons=[], elem_id='samples', scale=3, min_width=480)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                # No label: gradio would lay it over the picture, where it takes clicks.
                shown = gr.Image(show_label=False, interactive=False, format='png', elem_id='picture', height=500,
                                 buttons=[])
                block = gr.Slider(1, inspector.num_blocks, value=inspector.num_blocks, step=1, label='Block',
                                  elem_id='block', buttons=[])
            with gr.Column(scale=3, min_width=480):
                attention = gr.Image(show_label=False, interactive=False, format='png', elem_id='attention',
                                     buttons=['download'])
        gr.Markdown(f'## Segmentations by {titles}')
        segmentation = gr.Image(show_label=False, interactive=False, format='png', elem_id='segmentation',
                                buttons=['download'])

        def start(image: np.ndarray) -> List:
            """Shows a new picture, with its middle patch chosen."""
            chosen = inspector.middle(image)
            return [image, chosen, *inspector.look(image, chosen, inspector.num_blocks), inspector.segment(image),
                    inspector.num_blocks]

        def dropped(path: str) -> List:
            # The upload field is cleared at once (the first value, None), so that the next file can be dropped.
            try:
                return [None, *start(inspector.read(path))]
            except ValueError:
                bad = Path(path)
                gr.Warning(f'{bad.name} ({bad.stat().st_size} bytes) cannot be read as a picture: drop a PNG, JPEG, '
                           'BMP, TIFF or WebP file')
                return [None, *[gr.skip()] * 6]

        def picked(event: gr.SelectData) -> List:
            return start(np.ascontiguousarray(samples[event.index]))

        def clicked(image: np.ndarray, number: int, event: gr.SelectData) -> List:
            chosen = inspector.patch_at(image, event.index)
            return [chosen, *inspector.look(image, chosen, number)]

        def turned(image: Optional[np.ndarray], chosen: Optional[Tuple[int, int]], number: int) -> Sequence:
            return (None, None) if image is None else inspector.look(image, chosen, number)

        everything = [picture, patch, shown, attention, segmentation, block]
        quiet = dict(show_progress='hidden')
        file.upload(dropped, file, [file, *everything], **quiet)
        if len(samples):
            gallery.select(picked, None, everything, **quiet)
            page.load(lambda: start(np.ascontiguousarray(samples[0])), None, everything, **quiet)
        shown.select(clicked, [picture, block], [patch, shown, attention], **quiet)
        block.input(turned, [picture, patch, block], [shown, attention], trigger_mode='always_last', **quiet)
    return page


def launch(page: gr.Blocks, host: str, port: Optional[int], block: bool = True) -> str:
    """Serves the page.

    Args:
        page: What ``build_page`` returned.
        host: Address to listen on.
        port: None for the first free one from 7860 on.
        block: Whether to return only when the server ends.

    Returns:
        The page's address.

    Raises:
        OSError: The port is taken, or none is free.
    """
    # gradio's own theme would fetch fonts from a web service.
    theme = gr.themes.Base(font=_FONTS, font_mono=['ui-monospace', 'monospace'])
    _, address, _ = page.launch(server_name=host, server_port=port, share=False, inbrowser=False, show_error=True,
                                prevent_thread_lock=not block, max_file_size='50mb', theme=theme, css=_CSS,
                                footer_links=[])
    return address
