"""Loads a trained segmentor into mmseg's inferencer, after checking that its weights fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Callable, Optional, Union

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS
from mmseg.apis import MMSegInferencer
from torch import nn

from mmlocat.config import load_config, resolve_type
from mmlocat.models.building import load_model

from .overlay import Prediction
from .sources import shrink

# Scenes have 36 px and digits half of that; in far larger pictures the demo's models see only parts of strokes.
DEMO_MAX_SIDE = 72


class Segmentor(MMSegInferencer):
    """mmseg's inferencer around a loaded model, with a title for pictures; ``load_segmentor`` makes one.

    Args:
        model: The segmentor, its weights loaded; its ``dataset_meta`` has ``classes`` and ``palette``.
        title: Its name in pictures.
        max_side: ``predict`` shrinks pictures to this many px before the test pipeline; None leaves them.
    """

    def __init__(self, model: nn.Module, title: str, max_side: Optional[int]) -> None:
        self.title, self.max_side = title, max_side
        self._loaded = model
        super().__init__(model.cfg, device=str(next(model.parameters()).device))
        self.show_progress = False

    def _init_model(self, cfg: Config, weights: Optional[str], device: str = 'cpu') -> nn.Module:
        # Private in mmengine's BaseInferencer, the same from 0.10.3 to onedl's 0.10.12. Its own constructor takes no
        # model: it would build one and read the weights again, and only log those that do not fit.
        return self._loaded

    def _init_pipeline(self, cfg: Config) -> Callable:
        # Private too. mmseg's takes only a first step of the name LoadImageFromFile, whatever loads the images here.
        cfg.test_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
        return super()._init_pipeline(cfg)

    def predict(self, picture: np.ndarray) -> Prediction:
        """Segments an image as ``pictures.load_image`` returns it, shape (H, W, channels)."""
        sample = self(shrink(picture, self.max_side), return_datasamples=True)
        return Prediction(self.title, sample.pred_sem_seg.data[0].cpu().numpy(), **self.model.dataset_meta)


def load_segmentor(config: Union[str, Path], checkpoint: Union[str, Path], device: Optional[str] = None,
                   trust_pickle: bool = False, title: str = '', max_side: Optional[int] = None) -> Segmentor:
    """Loads a segmentor into mmseg's inferencer, after making sure that the weights fit.

    Args:
        config: Config file of MMSegmentation.
        checkpoint: Weights of the whole model: a file, or an address that ``mmlocat.checkpoints`` reads.
        device: Such as 'cpu' or 'cuda:0'; by default the best available.
        trust_pickle: Whether the checkpoint may hold anything; it can run code.
        title: See ``Segmentor``; by default the config's name.
        max_side: See ``Segmentor``.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: The config cannot be read, or is no segmentor's.
        RuntimeError: The checkpoint cannot be read, or is of another model.
    """
    settings = load_config(str(config))
    if settings.get('default_scope', 'mmseg') != 'mmseg' or 'test_dataloader' not in settings:
        raise ValueError(f'config {config} is of no segmentor of MMSegmentation with a test_dataloader; '
                         'give the config that the checkpoint was trained with')
    settings.visualizer = dict(type='SegLocalVisualizer')  # the inferencer requires one; it is not used
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # about losses, which are not computed here
        model = load_model(settings, checkpoint, device or get_device(), trust_pickle=trust_pickle)
        model.dataset_meta = _dataset_meta(settings, model)
        return Segmentor(model, title or Path(config).stem, max_side)


def _dataset_meta(config: Config, model: nn.Module) -> dict:
    """Returns names and colours: the checkpoint's if they fit, else those of the config's data set, else numbers."""
    dataset = resolve_type(config.test_dataloader.dataset, DATASETS, 'mmseg')
    for meta in (model.checkpoint_meta.get('dataset_meta') or {}, getattr(dataset, 'METAINFO', {})):
        classes, palette = meta.get('classes') or (), meta.get('palette') or ()
        if len(classes) == len(palette) == model.num_classes:
            return dict(classes=list(classes), palette=[list(colour) for colour in palette])
    from matplotlib import colormaps
    # Evenly spaced in lightness, so that people with any colour vision can tell neighbours apart.
    palette = colormaps['cividis'](np.linspace(0, 1, model.num_classes), bytes=True)[:, :3].tolist()
    return dict(classes=[f'class {i}' for i in range(model.num_classes)], palette=palette)
