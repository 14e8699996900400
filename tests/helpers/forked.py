"""Python programs in processes of their own that begin with OpenMMLab imported: a second each instead of ten.

They are forked from a server that has imported once what is not ours; mmlocat they import themselves, and what they
show of it is what a fresh interpreter shows. On a GPU a fresh interpreter it is: mmengine asks for CUDA when it is
imported, and a process cannot use what its parent has asked for.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from tests.conftest import hidden_gpus, spare_runners

PRELOADED = ['mmseg.apis', 'mmpretrain.apis', 'tests.helpers.forked']


def context():
    """The server that processes are forked from; they run on CPUs whatever the machine has."""
    server = multiprocessing.get_context('forkserver')
    server.set_forkserver_preload(PRELOADED)
    with hidden_gpus():
        multiprocessing.forkserver.ensure_running()
    return server


def redirect(out, err=None):
    """Has this process write to files; to one for both streams without the second."""
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if path else 1
        os.dup2(file, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = open(1, 'w', buffering=1, closefd=False)
    sys.stderr = open(2, 'w', buffering=1, closefd=False)


def begin(environment):
    """Gives this process the environment that an interpreter would have been started with."""
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get('OMP_NUM_THREADS', 1)))
    # The only one that reads its settings when it is imported.
    for name in [name for name in sys.modules if name.split('.')[0] == 'huggingface_hub']:
        del sys.modules[name]
    if environment.get('PYTHONWARNINGS'):
        warnings.simplefilter(environment['PYTHONWARNINGS'])
    sys.path[:0] = filter(None, environment.get('PYTHONPATH', '').split(os.pathsep))
    spare_runners()


def _program(arguments, cwd, environment, streams):
    os.setpgid(0, 0)
    redirect(*streams)
    begin(environment)
    os.chdir(cwd)
    if arguments[0] == '-c':
        sys.argv = ['-c', *arguments[2:]]
        sys.path.insert(0, '')
        exec(arguments[1], {'__name__': '__main__'})
    elif arguments[0] == '-m':
        sys.argv = arguments[1:]
        sys.path.insert(0, cwd)
        runpy.run_module(arguments[1], run_name='__main__', alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name='__main__')


class Program:
    """What ``python ARGUMENTS`` is, started; ``environment`` and ``cwd`` are this process's by default."""

    def __init__(self, *arguments, environment=None, cwd=None):
        self.arguments = [str(part) for part in arguments]
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [os.path.join(self._folder.name, name) for name in ('out', 'err')]
        self._process = context().Process(target=_program, args=(
            self.arguments, str(cwd or os.getcwd()), dict(environment or os.environ), self._streams))
        self._process.start()

    def finish(self, timeout=300):
        """Waits for it; returns what ``subprocess.run`` does."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it has started too
            self._process.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        out, err = (Path(path).read_text(errors='replace') for path in self._streams)
        self._folder.cleanup()
        return subprocess.CompletedProcess(self.arguments, self._process.exitcode, out, err)


def run_python(*arguments, environment=None, cwd=None, timeout=300):
    """Runs ``python ARGUMENTS`` to its end; returns what ``subprocess.run`` does, with text of both streams."""
    if torch.cuda.is_available():
        return subprocess.run([sys.executable, *map(str, arguments)], env=environment, cwd=cwd, timeout=timeout,
                              capture_output=True, text=True)
    return Program(*arguments, environment=environment, cwd=cwd).finish(timeout)
