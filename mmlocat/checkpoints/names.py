"""Translates the parameter names of ViT weights: timm's and the published ones, OpenMMLab's, CLIP's, Transformers'."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Pattern, Sequence, Tuple, TypeVar

import torch
from torch import Tensor

Value = TypeVar('Value')
Rules = Sequence[Tuple[Pattern, str]]

# Keys under which a training checkpoint may hold its weights, in the order in which they are tried.
NESTINGS = ('state_dict', 'model', 'teacher', 'state_dict_ema', 'model_ema', 'model_state', 'module')
# Prefixes that wrappers add to names; any of them, any number of times, outermost first.
_WRAPPERS = ('module.', '_orig_mod.', 'backbone.')
_BLOCK = r'(\d+)\.'


def _compile(*rules: Tuple[str, str]) -> Rules:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


class _Format(NamedTuple):
    """The names that one library gives its weights: how to recognise them, and the rules that make them ours."""

    name: str
    sign: Pattern
    wrapper: Pattern  # stripped off every name; names without it are dropped if ``only_wrapped``
    only_wrapped: bool
    rules: Rules


# The first format whose sign is found is used. Of its rules the first that matches a name is applied.
_FORMATS = (
    _Format('CLIP', re.compile(r'(^|\.)visual\.transformer\.resblocks\.'), re.compile(r'^(.*\.)?visual\.'), True,
            _compile((r'^conv1\.', 'patch_embed.projection.'), (r'^class_embedding$', 'cls_token'),
                     (r'^positional_embedding$', 'pos_embed'), (r'^ln_pre\.', 'pre_norm.'), (r'^ln_post\.', 'ln1.'),
                     (rf'^transformer\.resblocks\.{_BLOCK}ln_([12])\.', r'layers.\1.ln\2.'),
                     (rf'^transformer\.resblocks\.{_BLOCK}attn\.in_proj_', r'layers.\1.attn.qkv.'),
                     (rf'^transformer\.resblocks\.{_BLOCK}attn\.out_proj\.', r'layers.\1.attn.proj.'),
                     (rf'^transformer\.resblocks\.{_BLOCK}mlp\.c_fc\.', r'layers.\1.ffn.layers.0.0.'),
                     (rf'^transformer\.resblocks\.{_BLOCK}mlp\.c_proj\.', r'layers.\1.ffn.layers.1.'))),
    _Format('Transformers', re.compile(r'encoder\.layer\.\d+\.attention\.attention\.(query|qkv)'),
            re.compile(r'^(vit|deit|dinov?2?|model)\.'), False,
            _compile((r'^embeddings\.cls_token$', 'cls_token'), (r'^embeddings\.position_embeddings$', 'pos_embed'),
                     (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.projection.'),
                     (r'^layernorm\.', 'ln1.'),
                     (rf'^encoder\.layer\.{_BLOCK}layernorm_before\.', r'layers.\1.ln1.'),
                     (rf'^encoder\.layer\.{_BLOCK}layernorm_after\.', r'layers.\1.ln2.'),
                     (rf'^encoder\.layer\.{_BLOCK}attention\.attention\.', r'layers.\1.attn.'),
                     (rf'^encoder\.layer\.{_BLOCK}attention\.output\.dense\.', r'layers.\1.attn.proj.'),
                     (rf'^encoder\.layer\.{_BLOCK}intermediate\.dense\.', r'layers.\1.ffn.layers.0.0.'),
                     (rf'^encoder\.layer\.{_BLOCK}output\.dense\.', r'layers.\1.ffn.layers.1.'))),
    _Format('timm', re.compile(r'(^|\.)blocks\.\d+\.'), re.compile('^$'), False,
            _compile((r'^patch_embed\.proj\.', 'patch_embed.projection.'), (r'^norm_pre\.', 'pre_norm.'),
                     (r'^norm\.', 'ln1.'), (rf'^blocks\.{_BLOCK}norm([123])\.', r'layers.\1.ln\2.'),
                     (rf'^blocks\.{_BLOCK}mlp\.fc1\.', r'layers.\1.ffn.layers.0.0.'),
                     (rf'^blocks\.{_BLOCK}mlp\.fc2\.', r'layers.\1.ffn.layers.1.'),
                     (rf'^blocks\.{_BLOCK}(?:ls1\.gamma|gamma_1)$', r'layers.\1.attn.gamma1.weight'),
                     (rf'^blocks\.{_BLOCK}(?:ls2\.gamma|gamma_2)$', r'layers.\1.ffn.gamma2.weight'),
                     (rf'^blocks\.{_BLOCK}ls3\.gamma$', r'layers.\1.gamma3.weight'),
                     (rf'^blocks\.{_BLOCK}', r'layers.\1.'))),
    _Format('MMSegmentation ViT', re.compile(r'(^|\.)layers\.\d+\.attn\.attn\.in_proj_'), re.compile('^$'), False,
            _compile((rf'^layers\.{_BLOCK}attn\.attn\.in_proj_', r'layers.\1.attn.qkv.'),
                     (rf'^layers\.{_BLOCK}attn\.attn\.out_proj\.', r'layers.\1.attn.proj.'))),
    _Format('MMPretrain', re.compile(r'(^|\.)layers\.\d+\.attn\.qkv\.'), re.compile('^$'), False,
            _compile((rf'^layers\.{_BLOCK}ffn\.gamma2\.scale$', r'layers.\1.ffn.gamma2.weight'))),
)
_UNKNOWN = _Format('unknown', re.compile(''), re.compile('^$'), False, ())
_SPLIT = re.compile(r'^(layers\.\d+\.attn\.)(q|k|v|query|key|value)(?:_proj)?\.(weight|bias)$')

# Our names -> timm's, for the parts of timm's ViT and of published LocAtViT. The head is a classifier's.
_TO_TIMM = _compile(
    (r'^head\.layers\.head\.', 'head.'), (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^pre_norm\.', 'norm_pre.'), (r'^ln1\.', 'norm.'), (rf'^layers\.{_BLOCK}ln([123])\.', r'blocks.\1.norm\2.'),
    (rf'^layers\.{_BLOCK}ffn\.layers\.0\.0\.', r'blocks.\1.mlp.fc1.'),
    (rf'^layers\.{_BLOCK}ffn\.layers\.1\.', r'blocks.\1.mlp.fc2.'),
    (rf'^layers\.{_BLOCK}attn\.gamma1\.weight$', r'blocks.\1.ls1.gamma'),
    (rf'^layers\.{_BLOCK}ffn\.gamma2\.(?:scale|weight)$', r'blocks.\1.ls2.gamma'),
    (rf'^layers\.{_BLOCK}gamma3\.weight$', r'blocks.\1.ls3.gamma'),
    (rf'^layers\.{_BLOCK}', r'blocks.\1.'))


class Translated(NamedTuple):
    """A state dict under our names."""

    state_dict: Dict[str, Any]
    format: str  # the library whose names they had
    nesting: str  # the key they were found under, or ''


def unnest(checkpoint: Mapping[str, Any]) -> Tuple[Mapping[str, Any], str]:
    """Takes the weights out of a training checkpoint.

    Args:
        checkpoint: Weights by name, or a dict that holds them under one of ``NESTINGS``.

    Returns:
        The mapping with the tensors, and the key it was under, '' for none.
    """
    path: List[str] = []
    while True:
        key = next((key for key in NESTINGS if isinstance(checkpoint.get(key), Mapping) and checkpoint[key]), None)
        if key is None:
            return checkpoint, '.'.join(path)
        checkpoint = checkpoint[key]
        path.append(key)


def detect_format(names: Sequence[str]) -> str:
    """Returns whose names a ViT's weights have: 'timm', 'MMPretrain' (ours too), 'CLIP', ... or 'unknown'."""
    return _detect(names).name


def _detect(names: Sequence[str]) -> _Format:
    for known in _FORMATS:
        if any(known.sign.search(name) for name in names):
            return known
    return _UNKNOWN


def bare(checkpoint: Mapping[str, Any]) -> Translated:
    """Takes weights out of a training checkpoint, and strips wrappers' prefixes, but translates no names.

    Args:
        checkpoint: As ``translate`` takes it.
    """
    inner, nesting = unnest(checkpoint)
    unwrapped = {name: _unwrap(name) for name, value in inner.items() if isinstance(value, Tensor)}
    has_backbone = any(inside for _, inside in unwrapped.values())
    return Translated({new if inside or not has_backbone else name: inner[name]
                       for name, (new, inside) in unwrapped.items()}, 'own', nesting)


def to_mmlocat_names(state_dict: Mapping[str, Value]) -> Dict[str, Value]:
    """Renames the entries of a ViT's state dict to those of ``LocAtViT``.

    Names may begin with 'module.', '_orig_mod.' and 'backbone.', in any number. If there are 'backbone.' entries,
    others such as 'head.' keep their names. Values do not change; see ``translate``.

    Args:
        state_dict: Names and values of any kind.

    Returns:
        A new dict in the same order.

    Raises:
        ValueError: Two entries would get one name.
    """
    known = _detect(list(state_dict))
    has_backbone = any('backbone.' in name for name in state_dict)
    renamed: Dict[str, Value] = {}
    for name, value in state_dict.items():
        new, inside = _unwrap(name)
        if known.only_wrapped and not known.wrapper.search(new):
            continue
        new = known.wrapper.sub('', new)
        if inside or not has_backbone:
            new = _apply(known.rules, new)
        else:
            new = name
        if new in renamed:
            raise ValueError(f'two entries of the state dict would be called {new}; the second was {name}')
        renamed[new] = value
    return renamed


def _unwrap(name: str) -> Tuple[str, bool]:
    """Strips wrappers' prefixes off a name, and tells whether 'backbone.' was among them."""
    inside = False
    while True:
        for wrapper in _WRAPPERS:
            if name.startswith(wrapper):
                name = name[len(wrapper):]
                inside |= wrapper == 'backbone.'
                break
        else:
            return name, inside


def _apply(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        if pattern.search(name):
            return pattern.sub(replacement, name)
    return name


def translate(checkpoint: Mapping[str, Any]) -> Translated:
    """Converts a ViT's weights to the names and shapes of ``LocAtViT``.

    Takes them out of a training checkpoint, renames them, fuses split queries, keys and values, and gives CLIP's class
    and position embeddings a batch dimension. Entries that are not tensors are left out.

    Args:
        checkpoint: As ``unnest`` and ``to_mmlocat_names`` take it.

    Returns:
        The weights, the library whose names they had, and the key they were found under.

    Raises:
        ValueError: Two entries would get one name, or a block lacks one of query, key and value.
    """
    inner, nesting = unnest(checkpoint)
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    renamed = _fuse(to_mmlocat_names(tensors))
    for name, dims in (('cls_token', 1), ('pos_embed', 2)):
        if name in renamed and renamed[name].dim() == dims:
            renamed[name] = renamed[name].reshape(1, -1, renamed[name].shape[-1])
    return Translated(renamed, detect_format(list(tensors)), nesting)


def _fuse(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Joins query, key and value at the position of the first; a missing bias becomes zeros if others have one."""
    fused: Dict[str, Any] = {}
    for name, value in state_dict.items():
        split = _SPLIT.match(name)
        if split is None:
            fused[name] = value
        else:
            fused.setdefault(f'{split[1]}qkv.{split[3]}', {})[split[2][0]] = value
    for name, value in fused.items():
        if isinstance(value, dict):
            if len(value) < 3 and name.endswith('bias') and 'q' in value:
                value = {part: value.get(part, torch.zeros_like(value['q'])) for part in 'qkv'}
            if set(value) != set('qkv'):
                raise ValueError(f'the checkpoint has of {name} the parts {", ".join(sorted(value))} of q, k, v alone')
            fused[name] = torch.cat([value[part] for part in 'qkv'])
    return fused


def to_timm_names(state_dict: Mapping[str, Value]) -> Dict[str, Value]:
    """Renames a backbone or a classifier from our names to timm's, which published LocAtViT weights have.

    Args:
        state_dict: Weights under our names; those of the backbone without a prefix or all with 'backbone.', those of a
            classification head with 'head.layers.head.'.

    Returns:
        A new dict in the same order.
    """
    return {_apply(_TO_TIMM, name[len('backbone.'):] if name.startswith('backbone.') else name): value
            for name, value in state_dict.items()}


def to_classifier_names(state_dict: Mapping[str, Value]) -> Dict[str, Value]:
    """Renames bare weights under our names, with timm's 'head.', to those of MMPretrain's ``ImageClassifier``."""
    renamed = {}
    for name, value in state_dict.items():
        if name.startswith(('backbone.', 'head.layers.')):
            renamed[name] = value
        elif name.startswith('head.'):
            renamed['head.layers.' + name] = value
        else:
            renamed['backbone.' + name] = value
    return renamed
