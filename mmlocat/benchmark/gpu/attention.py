"""Measures attention for the report: errors of back-ends against the oracle, their time and their memory."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Iterator, Tuple

import torch

from mmlocat.attention import available_backends

from ..attention import PASSES, PLAIN, TOLERANCE, Case, Inputs, errors, reason_against
from ..measure import Call, race
from .plan import Plan

EAGER, GRAPH = 'eager', 'CUDA graph'
Row = Dict[str, Any]
# What is measured, as the first cells of a row, and a function that returns the other ones.
Measurement = Tuple[Row, Callable[[], Row]]


def parity(plan: Plan) -> Iterator[Measurement]:
    """Compares every back-end in every dtype with the oracle in float64, output and gradients of all inputs."""
    for case in plan.parity:
        for name in available_backends():
            yield dict(case.shown, backend=name), partial(_compare_with_oracle, case, name)


def _compare_with_oracle(case: Case, name: str) -> Row:
    reason = reason_against(case, name)
    if reason:
        return dict(note=f'cannot run: {reason}')
    (_, output, gradients), = errors(case, [name], PASSES[1])
    for_output, for_gradients = TOLERANCE[case.dtype]
    close = output <= for_output and gradients <= for_gradients
    return dict(output=output, output_allowed=for_output, gradients=gradients, gradients_allowed=for_gradients,
                problem=None if close else 'beyond its tolerance')


def speed(plan: Plan) -> Iterator[Measurement]:
    """Times attention in turns with plain attention, eagerly with its memory, and on a GPU as CUDA graphs."""
    if hasattr(torch.backends.cuda, 'enable_cudnn_sdp'):  # PyTorch from 2.4 on
        torch.backends.cuda.enable_cudnn_sdp(False)  # some releases prefer it to flash in half precision
    for case, name in plan.attention:
        for passes in PASSES:
            for launch in (EAGER, GRAPH) if case.device.startswith('cuda') else (EAGER, ):
                shown = dict(case.shown, passes=passes, launch=launch, backend=name)
                yield shown, partial(_race, case, passes, launch, name, plan.seconds)


def _race(case: Case, passes: str, launch: str, name: str, seconds: float) -> Row:
    inputs = Inputs(case)
    own, plain = (partial(inputs.run, each, passes) for each in (name, PLAIN))
    if launch == GRAPH:
        return race(_captured(own), _captured(plain), case.device, seconds, with_memory=False)
    return race(own, plain, case.device, seconds)


def _captured(run: Call) -> Call:
    """Returns a function that replays a call as a CUDA graph: its kernels, without the cost of launching each."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # a warm-up on another stream, as PyTorch asks before a capture
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
