"""Builds a model from a config, and loads weights that must all fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple, Union

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import PretrainedInit
from mmengine.registry import DATASETS, MODELS, WEIGHT_INITIALIZERS, init_default_scope
from torch import Tensor, nn

from mmlocat.attention.vit.loading import first_convolution, is_gaug
from mmlocat.checkpoints import Checkpoint, CheckpointError, read_checkpoint
from mmlocat.checkpoints.names import evaluated, unwrapped
from mmlocat.config import is_kind, load_config, resolve_type, tested_dataset

from .backbones.protocol import find_backbone


def build_model(config: Config, device: str = 'cpu') -> nn.Module:
    """Builds the model of a config in evaluation mode, without loading weights.

    Args:
        config: A config of MMPretrain or MMSegmentation; left as it is.
        device: Where to put the model; 'meta' keeps shapes only and takes no memory.

    Returns:
        The model, with its data preprocessor; its ``dataset_meta`` names the classes, if the config's data set does.
    """
    init_default_scope(config.get('default_scope', 'mmengine'))
    settings = ConfigDict(config.to_dict()['model'])  # a ConfigDict, because segmentors read entries as attributes
    if settings.get('backbone'):
        settings['backbone'] = {**settings['backbone'], 'init_cfg': None}
    settings.pop('pretrained', None)
    if settings.get('init_cfg'):  # of the whole model; it would load its weights in ``init_weights``
        loading = loading_initialisers(settings, config.get('default_scope'))
        settings['init_cfg'] = [entry for entry in _initialisers(settings) if entry not in loading] or None
    if config.get('data_preprocessor') and 'data_preprocessor' not in settings:  # as mmengine's Runner does
        settings['data_preprocessor'] = config.to_dict()['data_preprocessor']
    try:
        with torch.device(device):
            model = MODELS.build(settings)
    except RuntimeError as error:
        if device != 'meta' or 'meta' not in str(error):
            raise
        model = MODELS.build(settings)  # some read numbers of tensors meanwhile, as SegmenterMaskTransformerHead does
    meta = _fitting_meta(config, settings)
    if meta:
        model.dataset_meta = meta
    model.eval()  # not chained: it returns None for some models of MMPretrain (1.2.0 to 1.3.6)
    return model.to(device)


def loading_initialisers(part: Mapping[str, Any], scope: Optional[str] = None) -> List[dict]:
    """Returns those entries of ``init_cfg``, of a model or a part of one, that load weights from a checkpoint.

    Args:
        part: The settings of the part.
        scope: The library to search first: the config's ``default_scope``.
    """
    return [entry for entry in _initialisers(part) if is_kind(entry, PretrainedInit, WEIGHT_INITIALIZERS, scope)]


def _initialisers(part: Mapping[str, Any]) -> List[dict]:
    found = part.get('init_cfg') or []
    return [found] if isinstance(found, dict) else list(found)


def dataset_metainfo(config: Config, scope: Optional[str] = None) -> dict:
    """Returns what the data set that a config tests on says of its classes: its class, overridden by its settings.

    Of several inside wrappers it is the first, which is the one that MMEngine asks too.

    Args:
        config: Any config; one without such a data set gives {}.
        scope: The library to search first for its class; the process's default scope by default.
    """
    dataset = tested_dataset(config)
    kind = resolve_type(dataset, DATASETS, scope)
    return {**(getattr(kind, 'METAINFO', None) or {}), **(dataset.get('metainfo') or {})}


def _fitting_meta(config: Config, settings: dict) -> dict:
    """Returns what a config's data set says of its classes, if they are as many as the model's; else nothing."""
    meta = dataset_metainfo(config)
    head = settings.get('decode_head') or settings.get('head') or {}
    classes = meta.get('classes')
    fits = isinstance(head, dict) and isinstance(classes, (list, tuple)) and len(classes) == head.get('num_classes')
    return meta if fits else {}


def load_model(config: Union[str, Path, Config], checkpoint: Union[str, Path, None], device: str = 'cpu', *,
               trust_pickle: bool = False) -> nn.Module:
    """Builds a model and gives it the weights of a checkpoint, all of which must fit.

    Args:
        config: A config of MMPretrain or MMSegmentation, or its file.
        checkpoint: Weights of the whole model, as ``read_checkpoint`` takes them; opened once. None for random weights,
            as a training from scratch begins with.
        device: Such as 'cpu' or 'cuda:0'.
        trust_pickle: Whether a pickle may hold any type; it can then run code.

    Returns:
        The model in evaluation mode, with ``cfg``, and ``dataset_meta`` of the checkpoint, or of the config's data set
        if that has as many classes; its attribute ``checkpoint_meta`` is what the checkpoint says about itself, {} for
        random weights.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: The config cannot be read.
        RuntimeError: The checkpoint cannot be read, or belongs to another model.
    """
    settings = config if isinstance(config, Config) else load_config(str(config))
    read = None if checkpoint is None else read_checkpoint(checkpoint, trust_pickle=trust_pickle)
    model = build_model(settings)
    model.cfg = settings
    if read is None:
        model.init_weights()
        model.checkpoint_meta = {}
    else:
        load_weights(model, read)
    return model.to(device)


def load_weights(model: nn.Module, read: Checkpoint) -> None:
    """Gives a model the weights of a checkpoint, all of which must fit, with ``checkpoint_meta`` and ``dataset_meta``.

    Args:
        model: A model of MMPretrain or MMSegmentation, or a LocAt backbone alone, which takes its part of any weights.
        read: The checkpoint.

    Raises:
        RuntimeError: It belongs to another model.
    """
    state_dict = weights_for(model, read.state_dict)
    if find_backbone(model) is not model:
        state_dict = unwrapped(state_dict)
        check_weights(model, state_dict, read.source)
    try:
        model.load_state_dict(state_dict, strict=False)  # a backbone's load hook is strict
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f'{read.source}: {error}') from error
    model.checkpoint_meta = read.meta
    if read.meta.get('dataset_meta'):
        model.dataset_meta = read.meta['dataset_meta']


def weights_for(model: nn.Module, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns what a model takes of a checkpoint's weights: of a DINO model's the teacher, unless it is one itself."""
    return state_dict if hasattr(model, 'teacher') else evaluated(state_dict)


def check_weights(model: nn.Module, state_dict: Mapping[str, Tensor], source: Any) -> None:
    """Makes sure that a checkpoint holds the whole model; mmengine would only log weights that do not match.

    Args:
        model: The model, with any weights.
        state_dict: The weights of the checkpoint.
        source: Its name, for the message.

    Raises:
        RuntimeError: It lacks weights of the model, or has them in another shape.
    """
    own, backbone = model.state_dict(), find_backbone(model)
    if hasattr(backbone, 'in_classifier'):  # it derives from LocAtBase
        state_dict = backbone.in_classifier(state_dict)
    embedding = getattr(backbone, 'position_embedding', None)
    resizable = ('pos_embed', embedding.name if embedding else 'pos_embed',
                 *([first_convolution(backbone)] if getattr(backbone, 'adapt_channels', False) else []))
    wrong = [name for name, value in own.items() if name not in state_dict
             or (state_dict[name].shape != value.shape and not name.endswith(resizable))]
    unused = [name for name in state_dict if name not in own and is_gaug(name)]
    if wrong or unused:
        names = wrong or unused
        problem = 'are missing or have another shape' if wrong else 'are in the checkpoint alone'
        raise RuntimeError(f'{source} does not fit the model of this config: {len(names)} weights {problem} '
                           f'({", ".join(names[:3])}{" ..." if len(names) > 3 else ""}); is it of another config?')


def image_channels(model: nn.Module) -> int:
    """Returns how many channels the images of a model have: as its backbone says, else as its first convolution."""
    channels = getattr(find_backbone(model), 'in_channels', None)
    return channels or next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), 3)


def input_shape(config: Config) -> Tuple[int, int]:
    """Returns (height, width) of a config's training images in px: its crop, or the size of pretraining."""
    size = ((config.get('model') or {}).get('data_preprocessor') or {}).get('size')
    size = size or (config.get('model') or {}).get('backbone', {}).get('img_size', 224)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
