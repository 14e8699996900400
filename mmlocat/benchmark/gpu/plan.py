"""Defines what the report measures: its parts in order of importance, and the cases of a full and of a small run."""

from __future__ import annotations

from typing import NamedTuple, Tuple

from ..attention import Case


class Part(NamedTuple):
    """One part of the report."""

    name: str  # in the JSON
    title: str  # its heading on the page
    function: str  # 'module:name' of a function of a ``Plan``, imported in the process that runs the part
    seconds: float  # its time; a part may also use what earlier ones left over
    note: str  # what its figures mean


_HERE = 'mmlocat.benchmark.gpu'
# In order of importance, for no time may be left for late cases.
PARTS = (
    Part('parity', 'Parity', f'{_HERE}.attention:parity', 65,
         'Largest errors against `dense` in float64, as shares of the largest exact entry: of the output, and of the '
         'worst of the gradients of q, k, v and the two layers.'),
    Part('attention', 'Attention', f'{_HERE}.attention:speed', 115,
         'The baseline is `scaled_dot_product_attention`, on a GPU the flash kernel. Our side begins with q, k and v, '
         'predicts variance and alpha, and has gradients of its layers. Medians; low and high are the quartiles of '
         'the ratio, turn by turn. The L2 cache is flushed before each call. MiB: by how much allocated memory grows '
         'at most during a call, output and gradients included.'),
    Part('backbones', 'Whole backbones, eager', f'{_HERE}.models:eager', 85,
         'Against MMPretrain\'s `VisionTransformer`, both with weights of the dtype, noise for images. A training step '
         'is forward, backward and fused AdamW. MiB: by how much allocated memory grows during a call.'),
    Part('training', 'Training of whole segmentors', f'{_HERE}.models:training', 60,
         'A training step of a front-page config, all weights trained, by mmengine\'s optimizer wrapper, beside one of '
         'the same config with a plain ViT. Random weights, images and labels, without loading of data.'),
    Part('compiled', 'Whole backbones, compiled', f'{_HERE}.models:compiled', 125,
         '`torch.compile` of every block or of the whole model, default mode, static shapes. Ratio: to MMPretrain\'s '
         'ViT compiled in the same way; then the ratio of both eager, from the same turns, the first over the second, '
         'and the time over our own eager time.'),
)


class Plan(NamedTuple):
    """The cases of a run."""

    small: bool  # whether the run only shows that the report works
    device: str
    dtype: str  # of whole models
    seconds: float  # time for the turns of one case
    compiler: str  # ``backend`` of torch.compile
    parity: Tuple[Case, ...]  # every back-end is compared with the oracle in each
    attention: Tuple[Tuple[Case, str], ...]  # each with the back-end that is compared with plain attention
    backbones: Tuple[Tuple[str, int, int], ...]  # arch, image and batch; the first is also compiled as a whole
    training: Tuple[str, str, int]  # LocAtViT's config, its plain twin, and the batch


FULL = Plan(
    small=False, device='cuda', dtype='bfloat16', seconds=1.5, compiler='inductor',
    parity=tuple(Case(grid, heads, dtype=dtype, device='cuda')
                 for dtype in ('bfloat16', 'float16', 'float32', 'float64')
                 for grid, heads in (((14, 14), 12), ((32, 32), 2), ((36, 43), 1))),
    attention=tuple((Case(grid, 12, dtype='bfloat16', device='cuda', batch=batch), name) for grid, batch, name in (
        ((32, 32), 8, 'triton'), ((14, 14), 8, 'triton'), ((64, 64), 8, 'triton'), ((36, 43), 8, 'triton'),
        ((14, 14), 64, 'triton'), ((128, 128), 8, 'triton'), ((32, 32), 8, 'sdpa'), ((32, 32), 8, 'streaming'))),
    backbones=(('base', 512, 8), ('base', 224, 64), ('tiny', 512, 32), ('tiny', 224, 64), ('base', 1024, 2),
               ('tiny', 1024, 8)),
    training=('locatvit_upernet_ade20k', 'vit_upernet_ade20k', 16))

# For a CPU, where Triton's interpreter takes seconds a call and has no bfloat16.
SMALL = Plan(
    small=True, device='cpu', dtype='float32', seconds=0.01, compiler='eager',
    parity=tuple(Case(grid, 1, 16, dtype) for dtype in ('float32', 'float16') for grid in ((5, 5), (4, 6))),
    attention=tuple((Case((5, 5), 1, 16), name) for name in ('triton', 'sdpa', 'streaming')),
    backbones=(('tiny', 32, 1), ),
    training=('locatvit-nano_upernet_digitscenes', 'vit-nano_upernet_digitscenes', 2))
