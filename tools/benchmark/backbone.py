#!/usr/bin/env python
"""LocAtViT beside this package's plain ViT and MMPretrain's, in turns in one run: time, memory and their ratios."""

import argparse
import sys

import torch

from mmlocat.benchmark.backbone import MODELS, MODES, Case, measure
from mmlocat.benchmark.measure import machine
from mmlocat.benchmark.report import milliseconds, print_table

COLUMNS = ('mode', 'model', 'size', 'image', 'ms', 'x mmpretrain', 'quartiles', 'growth MiB')
PATCH = 16


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--archs', nargs='+', default=['tiny', 'small', 'base'], choices=('tiny', 'small', 'base'))
    parser.add_argument('--images', type=int, nargs='+', default=[224, 512, 1024], help='pixels a side')
    parser.add_argument('--modes', nargs='+', default=list(MODES), choices=MODES)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16', 'float16'))
    parser.add_argument('--seconds', type=float, default=20., help='time for the turns of one case (default: 20)')
    parser.add_argument('--no-memory', action='store_true', help='time only')
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')
    args = parser.parse_args()
    for image in args.images:
        if image < PATCH or image % PATCH:
            parser.error(f'--images takes multiples of {PATCH}, the patch size; got {image}')
    if args.batch < 1:
        parser.error(f'--batch must be at least 1, got {args.batch}')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: PyTorch sees no GPU here; leave the option out for the CPU')
    return args


def main() -> int:
    """Measures case by case and prints the table."""
    args = parse()
    cases = [Case(arch, image, args.batch, args.dtype, args.device) for arch in args.archs for image in args.images]
    results = []
    for number, (mode, case) in enumerate([(mode, case) for mode in args.modes for case in cases], 1):
        print(f'[{number}/{len(cases) * len(args.modes)}] {mode}, {case.arch}, {case.image} px', file=sys.stderr)
        results += measure(case, mode, MODELS, args.seconds, not args.no_memory)
    rows = [(r.mode, r.name, r.case.arch, str(r.case.image), milliseconds(r.time.seconds), f'{r.time.ratio:.2f}',
             f'{r.time.low:.2f} - {r.time.high:.2f}', '' if r.extra is None else f'{r.extra:.0f}') for r in results]
    print_table(f'{args.dtype}, batch {args.batch}. {machine(args.device)}', COLUMNS, rows, args.markdown)
    return 0


if __name__ == '__main__':
    sys.exit(main())
