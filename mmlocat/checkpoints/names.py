"""Translates the parameter names of ViT weights: timm's and the published ones, OpenMMLab's, CLIP's."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple, TypeVar

import torch
from torch import Tensor

Value = TypeVar('Value')

# Keys under which a training checkpoint may hold its weights, in the order in which they are tried.
_NESTINGS = ('state_dict', 'model', 'teacher', 'state_dict_ema', 'model_ema', 'model_state', 'module')
# Where mmlocat's DINO, a student beside its teacher, has the backbone that is evaluated.
TEACHER = 'teacher.module.'
# Prefixes that wrappers add to names; any of them, any number of times.
_WRAPPERS = re.compile(r'((module|_orig_mod|backbone)\.)*')
# Those around a whole model.
_OUTER = re.compile(r'^((module|_orig_mod)\.)+')
_SPLIT = re.compile(r'^(layers\.\d+\.attn\.)(q|k|v)(?:_proj)?\.(weight|bias)$')
# What begins the names of the MLP that all blocks of a Jumbo share.
_SHARED = 'jumbo_mlp.'
# timm's names of the layer scales in a ViT with rotary position embedding; others have the names below.
_ROPE_SCALES = {'gamma_1': 'attn.gamma1.weight', 'gamma_2': 'ffn.gamma2.weight'}


class _Names(NamedTuple):
    """How one library names the weights of a ViT; its beginnings of names, and ours."""

    sign: str  # a regular expression that some names match
    blocks: str = 'layers.'  # what stands before the number of a block
    in_blocks: Mapping[str, str] = {}
    outside: Mapping[str, str] = {}
    tower: str = ''  # the part of a larger model that is taken: names without it are left out


_TIMM = _Names(
    r'(^|\.)blocks\.\d+\.', 'blocks.',
    {'norm1.': 'ln1.', 'norm2.': 'ln2.', 'norm3.': 'ln3.', 'mlp.fc1.': 'ffn.layers.0.0.', 'mlp.fc2.': 'ffn.layers.1.',
     **_ROPE_SCALES, 'ls1.gamma': 'attn.gamma1.weight', 'ls2.gamma': 'ffn.gamma2.weight', 'ls3.gamma': 'gamma3.weight'},
    {'patch_embed.proj.': 'patch_embed.projection.', 'norm_pre.': 'pre_norm.', 'norm.': 'ln1.'})
_DINOV2 = 'DINOv2 with registers'  # without registers its names are timm's
# The first library whose sign is found is used; another one needs an entry here, above those with a wider sign.
_LIBRARIES = {
    'CLIP': _Names(
        r'(^|\.)visual\.transformer\.resblocks\.', 'transformer.resblocks.',
        {'ln_1.': 'ln1.', 'ln_2.': 'ln2.', 'attn.in_proj_': 'attn.qkv.', 'attn.out_proj.': 'attn.proj.',
         'mlp.c_fc.': 'ffn.layers.0.0.', 'mlp.c_proj.': 'ffn.layers.1.'},
        {'conv1.': 'patch_embed.projection.', 'class_embedding': 'cls_token', 'positional_embedding': 'pos_embed',
         'ln_pre.': 'pre_norm.', 'ln_post.': 'ln1.'}, 'visual.'),
    _DINOV2: _TIMM._replace(sign=r'(^|\.)register_tokens$', outside={**_TIMM.outside, 'register_tokens': 'reg_token'}),
    'timm': _TIMM,
    'MMSegmentation ViT': _Names(
        r'(^|\.)layers\.\d+\.attn\.attn\.in_proj_',
        in_blocks={'attn.attn.in_proj_': 'attn.qkv.', 'attn.attn.out_proj.': 'attn.proj.'}),
    'MMPretrain': _Names(r'(^|\.)layers\.\d+\.attn\.qkv\.'),
    'unknown': _Names(''),
}


class Translated(NamedTuple):
    """A state dict under our names."""

    state_dict: Dict[str, Any]
    format: str  # the library whose names they had
    nesting: str  # the key they were found under, or ''


def unnest(checkpoint: Mapping[str, Any]) -> Tuple[Mapping[str, Any], str]:
    """Takes the weights out of a training checkpoint; returns them, and the key they were under, '' for none."""
    path: List[str] = []
    while True:
        key = next((key for key in _NESTINGS if isinstance(checkpoint.get(key), Mapping) and checkpoint[key]), None)
        if key is None:
            return checkpoint, '.'.join(path)
        checkpoint = checkpoint[key]
        path.append(key)


def evaluated(weights: Mapping[str, Value]) -> Mapping[str, Value]:
    """Returns of a DINO model's weights the teacher's backbone, under 'backbone.'; other weights as they are."""
    beginning = f'{TEACHER}backbone.'
    if not any(str(name).startswith(beginning) for name in weights):
        return weights
    teacher = OrderedDict((name[len(TEACHER):], value) for name, value in weights.items() if name.startswith(beginning))
    if hasattr(weights, '_metadata'):  # PyTorch's, of each module; what it has of the student holds for the teacher
        teacher._metadata = weights._metadata
    return teacher


def unwrapped(weights: Mapping[str, Value]) -> Mapping[str, Value]:
    """Returns a whole model's weights without the prefixes of wrappers around it; the same object if there are none."""
    if not any(map(_OUTER.match, weights)):
        return weights
    bare_names = OrderedDict((_OUTER.sub('', name), value) for name, value in weights.items())
    if hasattr(weights, '_metadata'):  # PyTorch's, of each module
        bare_names._metadata = OrderedDict((_OUTER.sub('', f'{name}.')[:-1], record)
                                           for name, record in weights._metadata.items())
    return bare_names


def _take_out(checkpoint: Mapping[str, Any]) -> Tuple[Mapping[str, Any], str]:
    """Takes the weights to evaluate out of a training checkpoint; returns them, and the key they were under."""
    inner, nesting = unnest(checkpoint)
    weights = evaluated(inner)
    return weights, nesting if weights is inner else f'{nesting}.{TEACHER}'.strip('.')


def detect_format(names: Sequence[str]) -> str:
    """Returns whose names a ViT's weights have: 'timm', 'MMPretrain' (ours too), 'CLIP', ... or 'unknown'."""
    for library, known in _LIBRARIES.items():
        if any(re.search(known.sign, name) for name in names):
            return library
    return 'unknown'


def _without_wrappers(names: Sequence[str]) -> Dict[str, str]:
    """Returns names without wrappers' prefixes; of the backbone's alone, if some are marked as such."""
    wrappers = {name: _WRAPPERS.match(name)[0] for name in names}
    inside = [name for name in names if 'backbone.' in wrappers[name]]
    return {name: name[len(wrappers[name]):] for name in inside or names}


def bare(checkpoint: Mapping[str, Any]) -> Translated:
    """Takes weights out of a training checkpoint, and strips wrappers' prefixes, but translates no names."""
    inner, nesting = _take_out(checkpoint)
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    stripped = _without_wrappers(list(tensors))
    named = {stripped.get(name, _OUTER.sub('', name)): value for name, value in tensors.items()}
    return Translated(named, 'own', nesting)


def to_mmlocat_names(state_dict: Mapping[str, Value]) -> Dict[str, Value]:
    """Renames the entries of a ViT's state dict to those of ``LocAtViT``.

    Names may begin with wrappers' prefixes such as 'module.' and 'backbone.', in any number. If there are 'backbone.'
    entries, others such as 'head.' lose those around the whole model alone. Values do not change; see ``translate``.

    Raises:
        ValueError: Two entries would get one name.
    """
    known = _LIBRARIES[detect_format(list(state_dict))]
    stripped = _without_wrappers(list(state_dict))
    renamed: Dict[str, Value] = {}
    for name, value in state_dict.items():
        new = stripped.get(name, _OUTER.sub('', name))
        if known.tower not in new:
            continue
        if name in stripped:
            new = new[new.find(known.tower) + len(known.tower):]
            new = _rename(new, known.blocks, 'layers.', known.in_blocks, known.outside)
        if new in renamed:
            raise ValueError(f'two entries of the state dict would be called {new}; the second was {name}')
        renamed[new] = value
    return renamed


def _rename(name: str, blocks: str, new_blocks: str, in_blocks: Mapping[str, str], outside: Mapping[str, str]) -> str:
    """Exchanges the beginnings of a name, in a block that of what comes after the block's number too."""
    beginning, beginnings = '', outside
    if name.startswith(blocks):
        number, _, name = name[len(blocks):].partition('.')
        beginning, beginnings = f'{new_blocks}{number}.', in_blocks
    old = next((old for old in beginnings if name.startswith(old)), '')
    return beginning + beginnings.get(old, '') + name[len(old):]


def translate(checkpoint: Mapping[str, Any]) -> Translated:
    """Converts a ViT's weights to the names and shapes of ``LocAtViT``.

    Takes them out of a training checkpoint (of a DINO training the teacher's), renames them, fuses split queries, keys
    and values, gives CLIP's class and position embeddings a batch dimension, and DINOv2's registers, which have no
    position, one of zeros. Entries that are not tensors are left out.

    Args:
        checkpoint: Weights by name, or a dict that holds them under a key such as 'state_dict'.

    Returns:
        The weights, the library whose names they had, and the key they were found under.

    Raises:
        ValueError: Two entries would get one name, or a block lacks one of query, key and value.
    """
    inner, nesting = _take_out(checkpoint)
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    renamed = _fuse(to_mmlocat_names(tensors))
    for name, dims in (('cls_token', 1), ('pos_embed', 2)):
        if name in renamed and renamed[name].dim() == dims:
            renamed[name] = renamed[name].reshape(1, -1, renamed[name].shape[-1])
    library = detect_format(list(tensors))
    if library == _DINOV2 and 'pos_embed' in renamed:
        position = renamed['pos_embed']  # of the class token, then of the patches
        renamed['pos_embed'] = torch.cat(
            [position[:, :1], torch.zeros_like(renamed['reg_token']), position[:, 1:]], dim=1)
    return Translated(renamed, library, nesting)


def _fuse(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Joins query, key and value at the position of the first; a missing bias becomes zeros if others have one."""
    fused: Dict[str, Any] = {}
    for name, value in state_dict.items():
        split = _SPLIT.match(name)
        if split is None:
            fused[name] = value
        else:
            fused.setdefault(f'{split[1]}qkv.{split[3]}', {})[split[2]] = value
    for name, value in fused.items():
        if isinstance(value, dict):
            if len(value) < 3 and name.endswith('bias') and 'q' in value:
                value = {part: value.get(part, torch.zeros_like(value['q'])) for part in 'qkv'}
            if set(value) != set('qkv'):
                raise ValueError(f'the checkpoint has of {name} the parts {", ".join(sorted(value))} of q, k, v alone')
            fused[name] = torch.cat([value[part] for part in 'qkv'])
    return fused


def shared_once(weights: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Takes the MLP that all blocks of a Jumbo share once: checkpoints repeat it in every block.

    Args:
        weights: Under our names.

    Raises:
        ValueError: The blocks have different ones.
    """
    kept: Dict[str, Tensor] = {}
    repeated: Dict[str, List[Tensor]] = {}
    for name, value in weights.items():
        before, found, part = name.partition(_SHARED)
        if found and (not before or before.startswith('layers.')):
            repeated.setdefault(found + part, []).append(value)
        else:
            kept[name] = value
    for name, copies in repeated.items():
        if any(not torch.equal(copies[0], other) for other in copies[1:]):
            raise ValueError(f'the checkpoint has several {name}, which are not equal; Jumbo shares it among all '
                             'blocks')
        kept[name] = copies[0]
    return kept


def to_timm_names(state_dict: Mapping[str, Value]) -> Dict[str, Value]:
    """Renames a backbone or a classifier from our names to timm's, which published LocAtViT weights have.

    Args:
        state_dict: Weights under our names; those of the backbone without a prefix or all with 'backbone.', those of a
            classification head with 'head.layers.head.'.
    """
    timm = _LIBRARIES['timm']
    in_blocks = {ours: theirs for theirs, ours in timm.in_blocks.items()}
    if any(name.endswith('rope.freqs') for name in state_dict):
        in_blocks.update((ours, theirs) for theirs, ours in _ROPE_SCALES.items())
    outside = {'head.layers.head.': 'head.', **{ours: theirs for theirs, ours in timm.outside.items()}}
    renamed = {_rename(re.sub(r'^backbone\.', '', name), 'layers.', timm.blocks, in_blocks, outside): value
               for name, value in state_dict.items()}
    blocks = {name.split('.')[1] for name in renamed if name.startswith(timm.blocks)}
    # Jumbo's checkpoints hold the MLP that all blocks share in each of them too.
    renamed.update({f'{timm.blocks}{block}.{name}': value for name, value in list(renamed.items())
                    if name.startswith(_SHARED) for block in blocks})
    return renamed


def to_classifier_names(state_dict: Mapping[str, Value], head: str = 'head.layers.head.') -> Dict[str, Value]:
    """Renames bare weights under our names, with timm's 'head.', to those of MMPretrain's ``ImageClassifier``.

    ``head`` begins the names of its head: those of ``VisionTransformerClsHead`` by default, 'head.fc.' for
    ``LinearClsHead``.
    """
    renamed = {}
    for name, value in state_dict.items():
        if name.startswith(('backbone.', 'head.layers.', 'head.fc.')):
            renamed[name] = value
        elif name.startswith('head.'):
            renamed[head + name[len('head.'):]] = value
        else:
            renamed['backbone.' + name] = value
    return renamed
