#!/usr/bin/env python
"""Measures parity, time and memory on one GPU in under eight minutes, and writes a page and a JSON beside it."""

import argparse
import os
import signal
import sys
from pathlib import Path

import torch

from mmlocat.benchmark.gpu.plan import FULL, PARTS, SMALL
from mmlocat.benchmark.gpu.run import run_report
from mmlocat.benchmark.gpu.targets import judge
from mmlocat.utils import share_folder, stoppable

PAGE = 'performance_gpu.md'
SECONDS = 450  # with the time to start and end, under eight minutes


def read_options() -> argparse.Namespace:
    """Reads the command line; reports in one line whatever makes a run impossible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out', type=Path, default=share_folder() / 'docs' / PAGE,
        help=f'the page, or a folder for {PAGE} (default: docs/{PAGE})')
    parser.add_argument('--small', action='store_true', help='only show that the report works: seconds, on a CPU too')
    parser.add_argument(
        '--device', choices=('cuda', 'cpu'),
        help='default: cuda, with --small cpu; of several GPUs the first, which CUDA_VISIBLE_DEVICES chooses')
    parser.add_argument(
        '--seconds', type=float, default=SECONDS, help=f'for all parts together (default: {SECONDS})')
    parser.add_argument('--parts', nargs='+', choices=[part.name for part in PARTS], help='default: all')
    args = parser.parse_args()
    args.device = args.device or ('cpu' if args.small else 'cuda')
    committed = share_folder() / 'docs' / PAGE
    if args.out.suffix != '.md':
        args.out = args.out / PAGE
    problem = None
    if args.seconds <= 0:
        problem = f'--seconds must be positive, got {args.seconds:g}'
    elif args.device.startswith('cuda') and not torch.cuda.is_available():
        problem = ('PyTorch sees no GPU here, and docs/performance_gpu.md is for measured figures alone; '
                   'what works on a CPU: --small --out work_dirs/gpu-report')
    elif not args.small and not args.device.startswith('cuda'):
        problem = f'--device {args.device} is no GPU; what works on it: --small --out work_dirs/gpu-report'
    elif args.small and args.out.resolve() == committed.resolve():
        problem = ('a small run has no figures for docs/performance_gpu.md; give it a place of its own: '
                   '--small --out work_dirs/gpu-report')
    elif args.out.is_dir() or (args.out.parent.exists() and not args.out.parent.is_dir()):
        problem = f'--out {args.out} names no file that can be written'
    if problem:
        parser.exit(2, f'{parser.prog}: {problem}\n')
    return args


def main() -> int:
    """Measures, then prints what failed and which targets were missed; returns 1 if a part failed."""
    args = read_options()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # ends its processes, keeps the rows
    # For the measuring processes: Triton's kernels are interpreted on a CPU, never on a GPU.
    os.environ['TRITON_INTERPRET'] = '1' if args.device == 'cpu' else '0'
    report = run_report(SMALL if args.small else FULL, args.device, args.out, args.seconds, chosen=args.parts)
    failed = {name: entry['reason'] for name, entry in report['parts'].items() if entry['state'] == 'failed'}
    measured = sum('problem' not in row for entry in report['parts'].values() for row in entry['rows'])
    if not args.small:
        print('targets: ' + ', '.join(f'{sum(v.verdict == word for v in judge(report))} {word}'
                                      for word in ('pass', 'miss', 'not measured')))
    print(f'{measured} figures in {report["seconds"]:.0f} s: {args.out}' if measured else
          f'Nothing was measured; {args.out} is as it was.')
    return 1 if failed else 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
