"""Sets layer-wise learning rates in any model whose backbone knows the layer depth of its parameters."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, Optional

from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

_OPTIONS = ('layer_decay_rate', 'norm_decay_mult', 'bias_decay_mult', 'flat_decay_mult', 'custom_keys')
_KEY_OPTIONS = ('lr_mult', 'decay_mult')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer-wise learning rate decay, inside mmseg's segmentors too.

    A parameter's learning rate is multiplied by ``layer_decay_rate ** (D - 1 - depth)``; the backbone's
    ``get_layer_depth(param_name, prefix)`` gives depth and D. The parent calls that method on the whole model, but
    segmentors have none; it also ignores a custom key's ``lr_mult`` and unknown options. It is registered in mmengine's
    root, so configs of both libraries find it after ``custom_imports = dict(imports=['mmlocat.engine'])``.

    OneCycleLR takes its peak from ``eta_max``, not from the parameter groups: it undoes layer-wise rates.

    Args:
        optim_wrapper_cfg: Settings of the wrapper; ``optimizer`` needs ``lr`` and ``weight_decay``.
        paramwise_cfg: ``layer_decay_rate``, in (0, 1]; the multipliers of weight decay ``norm_decay_mult``,
            ``bias_decay_mult`` and ``flat_decay_mult`` (other vectors); ``custom_keys``, parts of names with
            ``lr_mult`` and ``decay_mult``, which take precedence.

    Raises:
        ValueError: An option is missing, unknown or out of range.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(f'layer_decay_rate={rate!r} in paramwise_cfg: layer-wise decay takes a number above 0, up '
                             'to 1; without decay by depth, leave out constructor= instead')
        _refuse_others(self.paramwise_cfg, _OPTIONS, 'paramwise_cfg')
        for key, options in self.paramwise_cfg.get('custom_keys', {}).items():
            _refuse_others(options, _KEY_OPTIONS, f'custom_keys[{key!r}]')
        for name, value in (('lr', self.base_lr), ('weight_decay', self.base_wd)):
            if value is None:
                raise ValueError(f'layer-wise decay needs {name} in optim_wrapper.optimizer, to multiply it'
                                 + (' (0 for none)' if name == 'weight_decay' else ''))

    def add_params(self, params: List[dict], module: nn.Module, prefix: str = '',
                   get_layer_depth: Optional[Callable] = None, **kwargs) -> None:
        """Appends a parameter group for each trained parameter of the model or, where the parent calls it, of a part.

        Raises:
            TypeError: The backbone has no ``get_layer_depth``.
        """
        if get_layer_depth is not None:
            super().add_params(params, module, prefix=prefix, get_layer_depth=get_layer_depth, **kwargs)
            return
        super().add_params(params, module, prefix=prefix, get_layer_depth=_layer_depths(module), **kwargs)
        for group in params:
            multiplier = group.pop('lr_mult', 1.)
            group['lr'] *= multiplier
            group['lr_scale'] *= multiplier


def _refuse_others(options: dict, known: tuple, where: str) -> None:
    for name in options:
        if name not in known:
            raise ValueError(f'{name} in {where} is no option of layer-wise decay, which takes {", ".join(known)}; '
                             'leave it out, or leave out constructor= for mmengine\'s own constructor')


def _layer_depths(model: nn.Module) -> Callable:
    """Returns the function that gives depth and number of depths for a parameter of the model."""
    backbone = getattr(model, 'backbone', model)
    if not hasattr(backbone, 'get_layer_depth'):
        raise TypeError(f'{type(backbone).__name__} does not say how deep its parameters lie: layer-wise decay needs a '
                        'backbone with get_layer_depth(param_name, prefix), such as LocAtViT or those of MMPretrain '
                        '(type=\'mmpretrain.VisionTransformer\'); give it that method, or leave out '
                        'optim_wrapper.constructor and layer_decay_rate')
    return getattr(model, 'get_layer_depth', None) or partial(backbone.get_layer_depth, prefix='backbone.')
