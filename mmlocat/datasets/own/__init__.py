"""Looks at a folder of somebody's own data and writes a config for it: ``tools/data/new_config.py``.

``folders``: which file is an image, a label map, of which split and class; ``splits``: found or made;
``labels``: what label maps hold, and copies of them as class numbers; ``config_text``: the config; ``make``: all of it.
"""

from .make import make_config

__all__ = ['make_config']
