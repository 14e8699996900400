"""What a config amounts to before any GPU hour is spent: see README.md."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.analysis')
