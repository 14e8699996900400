#!/usr/bin/env python
"""Measures parity, time and memory on one GPU in under eight minutes, and writes a page and a JSON beside it."""

import argparse
import os
import sys
from pathlib import Path

from mmlocat.utils import open_screen

if __name__ == '__main__':
    open_screen(openmmlab=False)  # before the imports, which take seconds

import torch

from mmlocat.benchmark.gpu.plan import FULL, SMALL
from mmlocat.benchmark.gpu.run import run_report
from mmlocat.benchmark.gpu.targets import judge
from mmlocat.utils import check_folder, share_folder, stoppable

PAGE = 'performance_gpu.md'


def read_options() -> argparse.Namespace:
    """Reads the command line; reports in one line whatever makes a run impossible."""
    parser = argparse.ArgumentParser(description=__doc__)
    committed = share_folder() / 'docs' / PAGE
    parser.add_argument(
        '--out', type=Path, default=committed, help=f'the page, or a folder for {PAGE} (default: docs/{PAGE})')
    parser.add_argument('--small', action='store_true', help='only show on a CPU that the report works')
    args = parser.parse_args()
    if args.out.suffix != '.md':
        args.out = args.out / PAGE
    problem = None
    if not args.small and not torch.cuda.is_available():
        problem = ('PyTorch sees no GPU here, and docs/performance_gpu.md is for measured figures alone; '
                   'what works on a CPU: --small --out work_dirs/gpu-report')
    elif args.small and args.out.resolve() == committed.resolve():
        problem = ('a small run has no figures for docs/performance_gpu.md; give it a place of its own: '
                   '--small --out work_dirs/gpu-report')
    elif args.out.is_dir():
        problem = f'--out {args.out} is a folder; it names a file, or a folder for {PAGE} that does not end in .md'
    else:
        try:
            check_folder('--out', args.out.parent)
        except ValueError as error:
            problem = str(error)
    if problem:
        parser.exit(2, f'{parser.prog}: {problem}\n')
    return args


def main() -> int:
    """Measures, then prints which targets were met and missed; returns 1 if anything failed."""
    args = read_options()
    # For the measuring processes: Triton's kernels are interpreted on a CPU, never on a GPU.
    os.environ['TRITON_INTERPRET'] = '1' if args.small else '0'
    try:
        report = run_report(SMALL if args.small else FULL, args.out)
    except (OSError, ValueError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    entries = report['parts'].values()
    rows = [row for entry in entries for row in entry['rows']]
    if not args.small:
        verdicts = [verdict for _, _, verdict in judge(report)]
        print('targets: ' + ', '.join(f'{verdicts.count(word)} {word}' for word in ('pass', 'miss', 'not measured')))
    print(f'{len(rows)} rows: {args.out}' if rows else f'Nothing was measured; {args.out} is as it was.')
    return 1 if any(entry['problem'] for entry in entries) or any(row.get('problem') for row in rows) else 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
