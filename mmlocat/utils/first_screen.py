"""Opens the screen of a command: the first line comes before slow imports, the chatter of other packages is left out.

Commands call ``open_screen`` before anything heavy is imported. Importing mmlocat changes no filter,
but ``mmlocat.benchmark`` does: the processes that it spawns open no screen.
"""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from contextlib import redirect_stdout

from mmlocat import __version__

from .terminal import is_main_process, stoppable

# Warnings about what a user of a command can neither cause nor mend: category, module, beginning of the message.
_LIBRARIES = r'(mmengine|mmcv|mmpretrain|mmseg|timm)(\.|$)'
_LEFT_OUT = (
    (FutureWarning, _LIBRARIES, ''),  # such as timm's moved modules, and torch.cuda.amp
    (DeprecationWarning, _LIBRARIES, ''),
    (UserWarning, r'mmcv\.cnn\.bricks\.transformer', 'Fail to import ``MultiScaleDeformableAttention``'),
    (UserWarning, r'mmseg\.models\.losses\.cross_entropy_loss', r'Default ``avg_non_ignore`` is False'),
    (UserWarning, r'mmseg\.engine\.hooks\.visualization_hook', 'The draw is False'),
    (UserWarning, '', 'pkg_resources is deprecated as an API'),
)
# What the OneDL builds print as they are imported: a message for debugging about a package for their platform.
_PRINTED = ('Could not import OneDL', )
# The parts of the libraries that every command with a model needs.
_NEEDED = ('mmpretrain.datasets', 'mmseg.datasets')


def leave_out_warnings() -> None:
    """Leaves out what no user can mend; ``python -W`` and ``PYTHONWARNINGS`` show all warnings again."""
    if not sys.warnoptions:
        for category, module, message in _LEFT_OUT:
            warnings.filterwarnings('ignore', message, category, module)


def open_screen(openmmlab: bool = True) -> None:
    """Prints a command's first line on stderr, then imports PyTorch and the OpenMMLab libraries, which takes seconds.

    With several processes only the first one prints. A library that cannot be imported is left to what needs it, which
    says how to install it.

    Args:
        openmmlab: Whether the command needs the OpenMMLab libraries; without them nothing is imported here.
    """
    if is_main_process():
        loaded = 'PyTorch and OpenMMLab' if openmmlab else 'PyTorch'
        print(f'mmlocat {__version__}: loading {loaded} ...', file=sys.stderr, flush=True)
    leave_out_warnings()
    if not openmmlab:
        return
    printed = io.StringIO()
    with stoppable():
        try:
            with redirect_stdout(printed):
                for name in _NEEDED:
                    importlib.import_module(name)
        except Exception:  # the import that needs it raises it again, with advice
            pass
        finally:
            for line in printed.getvalue().splitlines():
                if line not in _PRINTED:
                    print(line)
