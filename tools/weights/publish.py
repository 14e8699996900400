#!/usr/bin/env python
"""Strips a training checkpoint to its weights and meta, and appends the beginning of its SHA-256 to the name."""

import argparse
import sys

from mmlocat.utils import add_trust_option, stoppable


def main() -> int:
    """Publishes one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='checkpoint of a training, such as work_dirs/NAME/epoch_300.pth')
    parser.add_argument('target', help='name to publish under, ending in .pth; -HASH is put before the suffix')
    add_trust_option(parser)
    args = parser.parse_args()
    from mmlocat.deploy.publish import publish
    try:
        path, left_out = publish(args.source, args.target, trust_pickle=args.trust_pickle)
    except (RuntimeError, ValueError, OSError) as error:
        print(f'Error: {error}', file=sys.stderr)
        return 1
    print(f'{path} (left out: {", ".join(left_out) or "nothing"})')
    return 0


if __name__ == '__main__':
    with stoppable():
        sys.exit(main())
