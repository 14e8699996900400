"""What the report measures: its parts in order of importance, and the cases of a whole and of a small run."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple, Union

Grid = Union[int, Tuple[int, int]]
OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')


class Part(NamedTuple):
    """One part of the report.

    Args:
        name: In the JSON and for ``--parts``.
        title: On the page.
        function: 'module:name' of what measures it, a function of a ``Job``; imported where it runs.
        share: Its part of the whole time, in any unit. What a part leaves over, those after it may use.
        needs: Modules without which it is left out.
    """

    name: str
    title: str
    function: str
    share: float
    needs: Tuple[str, ...] = ()


_HERE = 'mmlocat.benchmark.gpu'
# In order of importance: what comes late may find no time left. The shares are seconds of the 450 of a whole run.
PARTS = (
    Part('parity', 'Parity', f'{_HERE}.attention:parity', 65, ('torch', )),
    Part('attention', 'Attention', f'{_HERE}.attention:speed', 90, ('torch', )),
    Part('memory', 'Memory of attention', f'{_HERE}.attention:memory', 15, ('torch', )),
    Part('backbones', 'Whole backbones, eager', f'{_HERE}.backbones:eager', 85, OPENMMLAB),
    Part('training', 'A training of the front page', f'{_HERE}.training:training', 80, OPENMMLAB),
    Part('compiled', 'Whole backbones, every block compiled', f'{_HERE}.backbones:compiled_blocks', 75, OPENMMLAB),
    Part('compiled-whole', 'Whole backbones, compiled as a whole', f'{_HERE}.backbones:compiled_whole', 40, OPENMMLAB),
)


class AttentionCase(NamedTuple):
    """One call of attention whose time or memory is measured."""

    grid: Grid
    batch: int
    rivals: Tuple[str, ...] = ('triton', )


class BackboneCase(NamedTuple):
    """One batch through one size of backbone."""

    arch: str
    image: int
    batch: int


class Training(NamedTuple):
    """A short training of a shipped config, and where it has one of its plain twin, on synthetic images."""

    configs: Tuple[str, ...]
    batch: int
    iterations: int
    interval: int  # iterations a line of the log
    images: int
    amp: bool
    changes: Dict[str, object]  # to model


class Plan(NamedTuple):
    """The cases of a run.

    Args:
        small: Whether it only shows that the report works.
        dtype: Of attention's times and of the backbones.
        dtypes: Of parity.
        parity_grids: With their numbers of heads.
        heads: Of attention's times, and channels a head.
        attention: Its cases.
        seconds: Of turns, for a case of attention.
        backbones: Their cases; the first ones carry the targets.
        backbone_seconds: Of turns, for a case of backbones.
        whole: The cases that are compiled in one graph too.
        compiler: ``backend`` of torch.compile.
        training: A training, or None.
    """

    small: bool
    dtype: str
    dtypes: Tuple[str, ...]
    parity_grids: Tuple[Tuple[Grid, int], ...]
    heads: int
    head_dims: int
    attention: Tuple[AttentionCase, ...]
    seconds: float
    backbones: Tuple[BackboneCase, ...]
    backbone_seconds: float
    whole: Tuple[BackboneCase, ...]
    compiler: str
    training: Training


_EVERY = ('triton', 'sdpa', 'streaming')
_TARGETS = (BackboneCase('base', 512, 8), BackboneCase('base', 224, 64), BackboneCase('tiny', 512, 32))
FULL = Plan(
    small=False,
    dtype='bfloat16',
    dtypes=('bfloat16', 'float16', 'float32', 'float64'),
    parity_grids=((14, 12), (32, 2), ((36, 43), 1)),
    heads=12,
    head_dims=64,
    attention=(AttentionCase(32, 8, _EVERY), AttentionCase(14, 8), AttentionCase(64, 8), AttentionCase((36, 43), 8),
               AttentionCase(14, 64), AttentionCase(128, 8)),
    seconds=0.7,
    backbones=(*_TARGETS, BackboneCase('tiny', 224, 64), BackboneCase('base', 1024, 2), BackboneCase('tiny', 1024, 8)),
    backbone_seconds=2.5,
    whole=_TARGETS[:1],
    compiler='inductor',
    training=Training(('locatvit_upernet_ade20k.py', 'vit_upernet_ade20k.py'), batch=16, iterations=60, interval=10,
                      images=64, amp=True, changes={}))

_NARROW = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
                  out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[32] * 4, out_channels=32),
    decode_head=dict(in_channels=[32] * 4, channels=32),
    auxiliary_head=dict(in_channels=32, channels=32))
# On a CPU, whose Triton interpreter takes seconds a call and has no bfloat16.
SMALL = Plan(
    small=True,
    dtype='float32',
    dtypes=('float32', 'float16'),
    parity_grids=((5, 1), ((4, 6), 1)),
    heads=1,
    head_dims=16,
    attention=(AttentionCase(5, 1, _EVERY), ),
    seconds=0.01,
    backbones=(BackboneCase('nano', 32, 1), ),
    backbone_seconds=0.01,
    whole=(BackboneCase('nano', 32, 1), ),
    compiler='eager',
    training=Training(('locatvit_upernet_ade20k.py', ), batch=2, iterations=4, interval=1,
                      images=4, amp=False, changes=_NARROW))
