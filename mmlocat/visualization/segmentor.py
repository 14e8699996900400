"""Loads a trained model into the inferencer of its library, after checking that its weights fit."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Tuple, Union

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS
from mmpretrain.models.classifiers import BaseClassifier, ImageClassifier
from mmpretrain.models.heads import MultiTaskHead
from mmseg.apis import MMSegInferencer
from mmseg.models.segmentors import BaseSegmentor
from torch import nn

from mmlocat.analysis.recipe import quiet_mmengine
from mmlocat.config import is_kind, load_config, tested_dataset
from mmlocat.models.building import dataset_metainfo, load_model

from .classifier import Classifier
from .overlay import Prediction
from .pictures import test_pipeline
from .sources import shrink


class Segmentor(MMSegInferencer):
    """mmseg's inferencer around a loaded model, with a title for pictures; ``load_segmentor`` makes one.

    Args:
        model: The segmentor, its weights loaded; its ``dataset_meta`` has ``classes`` and ``palette``.
        title: Its name in pictures.
        max_side: ``predict`` shrinks pictures to this many px before the test pipeline; None leaves them.
        origin: What the model was loaded from, for people.
    """

    def __init__(self, model: nn.Module, title: str, max_side: Optional[int], origin: str = '') -> None:
        self.title, self.max_side, self.origin = title, max_side, origin
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


Predictor = Union[Segmentor, Classifier]
_CLASSES = dict(segmentor=(BaseSegmentor, Segmentor), classifier=(BaseClassifier, Classifier))  # by task


def load_predictor(config: Union[str, Path], checkpoint: Union[str, Path, None], device: Optional[str] = None,
                   trust_pickle: bool = False, title: str = '', max_side: Optional[int] = None,
                   tasks: Tuple[str, ...] = tuple(_CLASSES)) -> Predictor:
    """Loads a segmentor or classifier into its library's inferencer, after making sure that the weights fit.

    Args:
        config: Config file of MMSegmentation or MMPretrain.
        checkpoint: Weights of the whole model: a file, or an address that ``mmlocat.checkpoints`` reads; None for
            random weights.
        device: Such as 'cpu' or 'cuda:0'; by default the best available.
        trust_pickle: Whether the checkpoint may hold anything; it can run code.
        title: Its name in pictures; by default the config's.
        max_side: ``predict`` shrinks pictures to this many px before the test pipeline; None leaves them.
        tasks: Which are accepted: 'segmentor', 'classifier'.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: The config cannot be read, is of another task, or does not say how images are loaded.
        RuntimeError: The checkpoint cannot be read, or is of another model.
    """
    settings = load_config(str(config))
    scope = settings.get('default_scope', 'mmseg')
    kind = next((ours for theirs, ours in map(_CLASSES.get, tasks) if is_kind(settings.model, theirs, MODELS, scope)),
                None)
    if kind is None:
        raise ValueError(f'config {config} is of no {" or ".join(tasks)}: its model is of type '
                         f'{settings.model.get("type")}; give the config of one')
    if not settings.model.get('head') and is_kind(settings.model, ImageClassifier, MODELS, scope):
        raise ValueError(f'config {config} is of a classifier without a head, which names no classes; give one with '
                         'a head, or look at its features and attention by tools/analysis/')
    if is_kind(settings.model.get('head') or {}, MultiTaskHead, MODELS, scope):
        raise ValueError(f'config {config} has several heads (MultiTaskHead), and here one answer is shown; give the '
                         'config of a classifier with one')
    if not test_pipeline(settings):
        raise ValueError(f'config {config} has no test_dataloader with a pipeline, which says how images are loaded; '
                         'give the config that the checkpoint was trained with')
    # The libraries' inferencers take the pipeline of the outermost data set, and a wrapper has none.
    settings.test_dataloader.dataset = tested_dataset(settings)
    settings.visualizer = dict(type='SegLocalVisualizer')  # mmseg's inferencer requires one; it is not used
    # Weights that are drawn would be logged by three lines for every parameter.
    with warnings.catch_warnings(), quiet_mmengine() if checkpoint is None else nullcontext():
        warnings.simplefilter('ignore', UserWarning)  # about losses, which are not computed here
        model = load_model(settings, checkpoint, device or get_device(), trust_pickle=trust_pickle)
        if kind is Segmentor:
            model.dataset_meta = _dataset_meta(settings, model)
        origin = _origin(config, checkpoint, model.checkpoint_meta)
        return kind(model, title or Path(config).stem, max_side, origin)


def load_segmentor(config: Union[str, Path], checkpoint: Union[str, Path], device: Optional[str] = None,
                   trust_pickle: bool = False, title: str = '', max_side: Optional[int] = None) -> Segmentor:
    """Loads a segmentor by ``load_predictor``, which explains arguments and errors; refuses other models."""
    return load_predictor(config, checkpoint, device, trust_pickle, title, max_side, ('segmentor', ))


def _origin(config: Union[str, Path], checkpoint: Union[str, Path, None], meta: Mapping[str, Any]) -> str:
    """Returns what a model was loaded from, and how far it was trained if its checkpoint says so."""
    if checkpoint is None:
        return f'config {Path(config).name}, random weights'
    # A training by iterations counts no epochs: MMEngine writes 0.
    counted = [f'{name} {meta[key]}' for key, name in (('epoch', 'epoch'), ('iter', 'iteration'))
               if isinstance(meta.get(key), int) and meta[key] > 0]
    return ', '.join([f'config {Path(config).name}', f'checkpoint {checkpoint}', *counted])


def _dataset_meta(config: Config, model: nn.Module) -> dict:
    """Returns names and colours, each by itself: the checkpoint's if so many, else the data set's, else made ones."""
    count = model.num_classes
    metas = (model.checkpoint_meta.get('dataset_meta') or {}, dataset_metainfo(config, 'mmseg'))
    classes, palette = (next((meta[key] for meta in metas if len(meta.get(key) or ()) == count), None)
                        for key in ('classes', 'palette'))
    if palette is None:
        from matplotlib import colormaps
        # Evenly spaced in lightness, so that people with any colour vision can tell neighbours apart.
        palette = colormaps['cividis'](np.linspace(0, 1, count), bytes=True)[:, :3].tolist()
    return dict(classes=list(classes or (f'class {i}' for i in range(count))),
                palette=[list(colour) for colour in palette])
