"""Tries every head of the installed MMSegmentation on LocAtViT: some steps of training, an odd size, ONNX."""

from __future__ import annotations

import logging
import tempfile
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmlocat.deploy.export import export_onnx
from mmlocat.models.building import build_model
from mmlocat.utils import first_line, suggestion, with_progress
from mmlocat.utils.kept_rows import Call, measure_now
from mmlocat.utils.machine import commit, machine, versions
from mmlocat.utils.tables import Table

from .head_settings import CLASSES, PATCH, REMARKS, head_model, heads, side

STEPS, BATCH = 10, 2
_LONGEST = 240  # characters of an error that are shown
_LIBRARIES = ('mmlocat', 'mmseg', 'mmcv', 'mmdet', 'mmengine')
Row = Dict[str, Any]


def try_head(name: str, steps: int = STEPS, onnx: bool = True) -> Row:
    """Trains a head with its backbone on one batch, predicts an image of an odd size, and exports the model.

    Args:
        name: Of the head's class.
        steps: Of training.
        onnx: Whether to export.

    Returns:
        'loss' of the first and the last step, 'tested' and 'onnx' (True where it works), and for what does not work
        'errors' by step ('trained', 'tested', 'onnx'), each the error and the library in which it came.
    """
    torch.manual_seed(0)
    row: Row = dict(head=name, loss=None, tested=False, onnx=False, errors={})
    config = Config(dict(default_scope='mmseg', model=head_model(name)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = _attempt(row, 'trained', partial(build_model, config))
        if model is None:
            return row
        row['loss'] = _attempt(row, 'trained', partial(_train, model, side(name), steps))
        row['tested'] = bool(_attempt(row, 'tested', partial(_test, model, side(name))))
        if onnx:
            row['onnx'] = bool(_attempt(row, 'onnx', partial(_export, config, model)))
    return row


def _attempt(row: Row, step: str, call: Callable[[], Any]) -> Any:
    """Returns what a call returns; notes its error in the row, and returns None then."""
    try:
        return call()
    except Exception as error:  # heads may raise anything
        row['errors'][step] = (f'{type(error).__name__}: {first_line(error)}', _library(error))
        return None


def _library(error: BaseException) -> Optional[str]:
    """Returns the library whose code came last before the first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    called = [frame.f_globals.get('__name__', '').split('.')[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((library for library in reversed(called) if library in _LIBRARIES), None)


def _train(model: nn.Module, size: int, steps: int) -> Tuple[float, float]:
    """Returns the loss of the first and of the last step on one batch of noise, whose labels are four bands."""
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-3)
    head = model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
    bands = (torch.arange(size)[None, :, None] * 4 // size).expand(1, size, size)
    sample = partial(SegDataSample, metainfo=dict(img_shape=(size, size), ori_shape=(size, size)),
                     gt_sem_seg=PixelData(data=bands % min(getattr(head, 'num_classes', CLASSES) or 2, CLASSES)),
                     gt_depth_map=PixelData(data=1. + bands))
    images, losses = torch.randn(BATCH, 3, size, size), []
    for _ in range(steps):
        loss, _ = model.parse_losses(model.loss(images, [sample() for _ in range(BATCH)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    gradients = [value.grad for name, value in model.named_parameters() if 'log_alpha' in name]
    if not all(grad is not None and grad.abs().max() > 0 for grad in gradients):
        raise RuntimeError('GAug gets no gradient')
    if not losses[-1] < losses[0]:
        raise RuntimeError(f'the loss rose from {losses[0]:.3g} to {losses[-1]:.3g}')
    return losses[0], losses[-1]


@torch.no_grad()
def _test(model: nn.Module, size: int) -> bool:
    """Predicts one image of odd sides and an odd grid, no whole patches; a result that is not finite is an error."""
    # The grid of patches is odd too, which heads that double maps or halve them may not take.
    rows, columns = (PATCH * (patches | 1) - 1 for patches in (size // PATCH, size // PATCH - 3))
    result = model.eval().predict(torch.randn(1, 3, rows, columns))[0]
    found = getattr(result, 'seg_logits', None) or result.pred_depth_map
    if found.data.shape[-2:] != (rows, columns) or not found.data.isfinite().all():
        raise RuntimeError(f'gives {tuple(found.data.shape)} for an image of {rows} x {columns} px, or NaN')
    return True


def _export(config: Config, model: nn.Module) -> bool:
    """Exports the trained model and compares the graph with it at five other sizes, as ``export_onnx`` does."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / 'model.pth'
        torch.save(dict(state_dict=model.state_dict()), weights)
        export_onnx(config, str(weights), Path(folder) / 'model.onnx')
    return True


def try_heads(names: Optional[List[str]] = None, call: Call = measure_now) -> List[Row]:
    """Tries heads one after the other, with progress on stderr; see ``try_head``.

    Args:
        names: Of the heads; all that the installed MMSegmentation has by default.
        call: Calls each head's trial; ``KeptRows.call`` keeps what it gives.

    Raises:
        ValueError: There is no such head.
    """
    known = heads()
    for name in names or ():
        if name not in known:
            raise ValueError(f'the installed MMSegmentation has no head {name!r}{suggestion(name, known)}')
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    return [call(dict(head=name, steps=STEPS), partial(try_head, name))
            for name in with_progress(names or known, str)]


def table(rows: List[Row]) -> str:
    """Returns the table of some heads in Markdown, and a line that counts."""
    shown = Table(['head', 'loss', 'odd size', 'ONNX', 'what does not work, and why'], words=5)
    for row in rows:
        errors = dict.fromkeys(error.replace('|', '/')[:_LONGEST] for error, _ in row['errors'].values())
        loss = f'{row["loss"][0]:.2f} to {row["loss"][1]:.2f}' if row['loss'] else 'no'
        shown.add(f'`{row["head"]}`', loss, 'yes' if row['tested'] else 'no', 'yes' if row['onnx'] else 'no',
                  '; '.join([*([REMARKS[row['head']]] if row['head'] in REMARKS else []), *errors]))
    ours = sum(library == 'mmlocat' for row in rows for step, (_, library) in row['errors'].items() if step != 'onnx')
    return (f'{shown.markdown()}\n\nOf {len(rows)} heads {sum(bool(row["loss"]) for row in rows)} train, '
            f'{sum(row["tested"] for row in rows)} segment an image of an odd size, and '
            f'{sum(row["onnx"] for row in rows)} are exported. Errors of training and testing that came in mmlocat: '
            f'{ours}.\n')


def report(rows: List[Row]) -> str:
    """Returns the table of some heads, and before it when, where and with what they were tried."""
    packages = ', '.join(f'{name} {version}' for name, version in versions().items()
                         if name in ('mmlocat', 'python') or name.endswith(('mmsegmentation', 'mmcv', 'mmengine')))
    return f'Measured {machine("cpu")}; {packages}; commit {commit()}.\n\n{table(rows)}'
