"""What stands between a config and mmengine's Runner: checks, CPU launches, one command line."""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.engine')
