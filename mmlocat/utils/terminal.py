"""Provides what all command lines share: progress, Ctrl-C, one-line errors, the option ``--trust-pickle``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import Callable, Iterator, Sequence, TypeVar

Item = TypeVar('Item')


@contextmanager
def stoppable(remark: Callable[[], str] = str) -> Iterator[None]:
    """Makes Ctrl-C end a tool with one line instead of a traceback, and with exit code 130, as shells report it.

    With several processes only the first one prints the line.

    Args:
        remark: Returns text to add to the line.
    """
    try:
        yield
    except KeyboardInterrupt:
        if int(os.environ.get('RANK', 0)) == 0:
            print(f'Stopped by Ctrl-C. {remark()}'.rstrip(), file=sys.stderr)
        sys.exit(130)


def with_progress(items: Sequence[Item], describe: Callable[[Item], str]) -> Iterator[Item]:
    """Yields items that take seconds each; prints on stderr, before each, its name and when all will be done."""
    began = time.monotonic()
    for number, item in enumerate(items):
        left = (time.monotonic() - began) / max(1, number) * (len(items) - number)
        eta = f', ETA {timedelta(seconds=round(left))}' if number else ''
        print(f'[{number + 1}/{len(items)}] {describe(item)}{eta}', file=sys.stderr, flush=True)
        yield item


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if the message is empty."""
    return str(error).strip().split('\n')[0][:300] or type(error).__name__


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-pickle``, which every tool that reads a checkpoint takes."""
    parser.add_argument(
        '--trust-pickle', action='store_true', help='load pickles that hold more than plain data; they can run code')
