"""The segmentors that the demo has trained, and how a segmentor is loaded to look at pictures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import List, Optional, Union

from mmengine.config import Config
from mmseg.apis import MMSegInferencer
from mmseg.registry import DATASETS
from torch import nn

from mmlocat.checkpoints.schemes import install_reader
from mmlocat.config import load_config
from mmlocat.experiments.trained import DEMO_WORK_DIR, DemoModel, demo_model  # noqa: F401
from mmlocat.training.initial_weights import check_model_weights

# Scenes have 36 px and digits of a half of that; on far larger pictures the models see parts of strokes.
DEMO_MAX_SIDE = 72

def load_segmentor(config: Union[str, Path], checkpoint: Union[str, Path], device: Optional[str] = None,
                   trust_pickle: bool = False) -> MMSegInferencer:
    """Loads a segmentor into mmseg's inferencer, after making sure that the weights fit.

    Args:
        config: Config file of MMSegmentation.
        checkpoint: Weights of the whole model: a file, or an address that ``mmlocat.checkpoints`` reads.
        device: Such as 'cpu' or 'cuda:0'; by default the best that is there.
        trust_pickle: Whether the checkpoint may hold anything; it can run code.

    Returns:
        The inferencer, without a progress bar of its own; ``model.dataset_meta`` has ``classes`` and ``palette``.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: The config cannot be read, or is no segmentor's.
        RuntimeError: The checkpoint cannot be read, or is of another model.
    """
    settings = load_config(str(config))
    if settings.get('default_scope', 'mmseg') != 'mmseg' or 'test_dataloader' not in settings:
        raise ValueError(f'config {config} is of no segmentor of MMSegmentation with a test_dataloader; '
                         'give the config that the checkpoint was trained with')
    (settings.model.get('backbone') or {}).pop('init_cfg', None)  # the checkpoint holds the backbone
    settings.visualizer = dict(type='SegLocalVisualizer')  # the inferencer wants one; it is not used
    install_reader(trust_pickle)
    check_model_weights(settings, str(checkpoint), trust_pickle)
    with warnings.catch_warnings():
        # Losses that nobody computes here, and names of classes, which come next.
        warnings.simplefilter('ignore', UserWarning)
        inferencer = MMSegInferencer(settings, weights=str(checkpoint), device=device)
    inferencer.show_progress = False
    inferencer.model.dataset_meta = _dataset_meta(settings, inferencer.model)
    return inferencer


def _dataset_meta(config: Config, model: nn.Module) -> dict:
    """Returns names and colours: the checkpoint's if they fit, else those of the config's data set, else numbers."""
    count = model.num_classes
    dataset = DATASETS.get(config.test_dataloader.dataset.type)
    for meta in (model.dataset_meta, getattr(dataset, 'METAINFO', {})):
        classes, palette = meta.get('classes'), meta.get('palette')
        if classes and palette and len(classes) == len(palette) == count:
            return dict(classes=list(classes), palette=[list(colour) for colour in palette])
    return dict(classes=[f'class {i}' for i in range(count)], palette=_spread_colours(count))


def _spread_colours(count: int) -> List[List[int]]:
    from matplotlib import colormaps
    colours = colormaps['cividis']  # even in lightness, so that no kind of colour vision confuses neighbours
    return [[round(255 * part) for part in colours(i / max(1, count - 1))[:3]] for i in range(count)]
