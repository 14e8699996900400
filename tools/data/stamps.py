#!/usr/bin/env python
"""Shows which stamps StampScenes is made of: how many of each class in each split, all names, or what is left out."""

import argparse
from pathlib import Path

from mmlocat.datasets.stamp_scenes.catalogue import CLASSES, LEFT_OUT
from mmlocat.datasets.stamp_scenes.package import download
from mmlocat.datasets.stamp_scenes.sources import divide
from mmlocat.utils import stoppable
from mmlocat.utils.tables import Table

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=0, help='seed of the data set (default: 0)')
    show = parser.add_mutually_exclusive_group()
    show.add_argument('--names', action='store_true', help='list every stamp with its class and split')
    show.add_argument('--left-out', action='store_true', help='list what is not used, and why')
    show.add_argument('--fetch', metavar='FILE', type=Path, help='only fetch the Debian package, to a file')
    options = parser.parse_args()
    parts = divide(options.seed)
    if options.fetch:
        table = Table(['package'])
        table.add(str(download(options.fetch)))
    elif options.left_out:
        table = Table(['stamp or folder', 'why it is left out'], words=2)
        for name, reason in sorted(LEFT_OUT.items()):
            table.add(name, reason)
    elif options.names:
        table = Table(['stamp', 'class', 'split'], words=3)
        for split, part in parts.items():
            for title, names in part.items():
                for name in names:
                    table.add(name, title, split)
    else:
        table = Table(['class', *parts, 'all'], f'Stamps of StampScenes, seed {options.seed}')
        for title in (*CLASSES, 'distractor'):
            counts = [len(part[title]) for part in parts.values()]
            table.add(title, *counts, sum(counts))
        table.add('all', *([sum(map(len, part.values())) for part in parts.values()]),
                  sum(len(names) for part in parts.values() for names in part.values()))
    with stoppable():
        table.print()
