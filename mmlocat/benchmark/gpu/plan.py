"""Defines what the report measures: its parts in order of importance, and the cases of a full and of a small run."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

from .. import attention, backbone

OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')


class Part(NamedTuple):
    """One part of the report.

    Args:
        name: Its name in the JSON and for ``--parts``.
        title: Its heading on the page.
        function: 'module:name' of the function that measures it, given a ``Job``; imported in the process that runs it.
        share: Its share of the whole time, in any unit. Later parts may use the time that it leaves over.
        needs: Modules without which it is left out.
    """

    name: str
    title: str
    function: str
    share: float
    needs: Tuple[str, ...] = ()


_HERE = 'mmlocat.benchmark.gpu'
# In order of importance, for no time may be left for late parts. The shares are seconds of the 450 of a full run.
PARTS = (
    Part('parity', 'Parity', f'{_HERE}.attention:parity', 65),
    Part('attention', 'Attention', f'{_HERE}.attention:speed', 90),
    Part('memory', 'Memory of attention', f'{_HERE}.attention:memory', 15),
    Part('backbones', 'Whole backbones, eager', f'{_HERE}.backbones:eager', 85, OPENMMLAB),
    Part('training', 'A training of the front page', f'{_HERE}.training:training', 80, OPENMMLAB),
    Part('compiled', 'Whole backbones, every block compiled', f'{_HERE}.backbones:compiled_blocks', 75, OPENMMLAB),
    Part('compiled-whole', 'Whole backbones, compiled as a whole', f'{_HERE}.backbones:compiled_whole', 40, OPENMMLAB),
)


class Training(NamedTuple):
    """A short training, on synthetic images, of a shipped config and of its plain twin if it has one.

    Args:
        configs: LocAtViT's config, and its plain twin.
        batch: Images a step.
        iterations: Length of the training.
        interval: Iterations a line of the log.
        images: Number of images to make.
        side: The shorter side of each, in pixels.
        arguments: Further arguments of ``tools/train.py``, options of the config last.
    """

    configs: Tuple[str, ...]
    batch: int
    iterations: int
    interval: int
    images: int
    side: int
    arguments: Tuple[str, ...]


class Plan(NamedTuple):
    """The cases of a run.

    Args:
        small: Whether the run only shows that the report works.
        parity: The cases in which every back-end is compared with the oracle.
        attention: The cases whose time and memory are measured, each with the back-ends that take part.
        seconds: Time for the turns of one attention case.
        backbones: The backbone cases; the targets refer to the first ones.
        backbone_seconds: Time for the turns of one backbone case.
        whole: The backbone cases that are also compiled in one graph.
        compiler: ``backend`` of torch.compile.
        training: The short training.
    """

    small: bool
    parity: Tuple[attention.Case, ...]
    attention: Dict[attention.Case, Tuple[str, ...]]
    seconds: float
    backbones: Tuple[backbone.Case, ...]
    backbone_seconds: float
    whole: Tuple[backbone.Case, ...]
    compiler: str
    training: Training


_EVERY, _OURS = ('triton', 'sdpa', 'streaming'), ('triton', )
_TARGETS = tuple(backbone.Case(*case, dtype='bfloat16') for case in (('base', 512, 8), ('base', 224, 64),
                                                                     ('tiny', 512, 32)))
FULL = Plan(
    small=False,
    parity=tuple(attention.Case(grid, heads, dtype=dtype) for dtype in ('bfloat16', 'float16', 'float32', 'float64')
                 for grid, heads in ((14, 12), (32, 2), ((36, 43), 1))),
    attention={attention.Case(grid, 12, dtype='bfloat16', batch=batch): _EVERY if grid == 32 else _OURS
               for grid, batch in ((32, 8), (14, 8), (64, 8), ((36, 43), 8), (14, 64), (128, 8))},
    seconds=0.7,
    backbones=(*_TARGETS, *(backbone.Case(*case, dtype='bfloat16')
                            for case in (('tiny', 224, 64), ('base', 1024, 2), ('tiny', 1024, 8)))),
    backbone_seconds=2.5,
    whole=_TARGETS[:1],
    compiler='inductor',
    training=Training(('locatvit_upernet_ade20k.py', 'vit_upernet_ade20k.py'), batch=16, iterations=60, interval=10,
                      images=64, side=512, arguments=('--amp', '--cfg-options', 'optim_wrapper.dtype=bfloat16')))

# For a CPU, where Triton's interpreter takes seconds a call and has no bfloat16.
SMALL = Plan(
    small=True,
    parity=tuple(attention.Case(grid, 1, 16, dtype) for dtype in ('float32', 'float16') for grid in (5, (4, 6))),
    attention={attention.Case(5, 1, 16): _EVERY},
    seconds=0.01,
    backbones=(backbone.Case('nano', 32), ),
    backbone_seconds=0.01,
    whole=(backbone.Case('nano', 32), ),
    compiler='eager',
    training=Training(
        ('locatvit_upernet_ade20k.py', ), batch=2, iterations=4, interval=1, images=4, side=32,
        arguments=('--cfg-options', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
                   'train_dataloader.dataset.pipeline.2.scale=(128,32)',
                   'train_dataloader.dataset.pipeline.3.crop_size=(32,32)', 'model.data_preprocessor.size=(32,32)',
                   'model.backbone.arch=tiny', 'model.neck.in_channels=[192,192,192,192]',
                   'model.neck.out_channels=32', 'model.decode_head.in_channels=[32,32,32,32]',
                   'model.decode_head.channels=32', 'model.auxiliary_head.in_channels=32',
                   'model.auxiliary_head.channels=32')))
