"""Skips what needs a package that is not installed, with one reason, in this one place.

``make test-cuda`` runs the suite by whatever interpreter a GPU machine has: often PyTorch and pytest, and nothing of
OpenMMLab. A file that cannot be imported for want of a package listed here is skipped when it is collected, a test that
finds out later when it runs. A package that is installed and broken stays an error, as does a name that is not listed.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch

OPENMMLAB = ('mmengine', 'mmcv', 'mmseg', 'mmpretrain')
# Modules that tests may lack, by the extra of mmlocat that brings them.
EXTRAS = {
    'onedl': (*OPENMMLAB, 'torchvision', 'cv2', 'yaml', 'addict', 'ftfy', 'regex', 'prettytable', 'yapf'),
    'demo': ('sklearn', 'PIL', 'filelock', 'rich', 'matplotlib'),
    'test': ('hypothesis', 'timm', 'onnx', 'onnxscript', 'onnxruntime', 'tensorboard', 'build', 'psutil',
             'argcomplete'),
    'dev': ('gradio', 'playwright', 'nbformat', 'nbclient', 'ipykernel', 'wandb'),
    'docs': ('mkdocs', 'mkdocstrings', 'material', 'latex2mathml'),
}
_SOURCES = {module: f'the extra "{extra}" of mmlocat' for extra, modules in EXTRAS.items() for module in modules}
_SOURCES.update(dict.fromkeys(('safetensors', 'huggingface_hub'), 'mmlocat itself'))

_ABSENT = {module for module in _SOURCES if importlib.util.find_spec(module) is None}


def _reason(module):
    return f'{module} is not installed; {_SOURCES[module]} brings it'


def reason_of(error):
    """Returns why a test cannot run here, if an error comes from a package that is not installed; else None."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        module = (getattr(error, 'name', None) or '').split('.')[0] if isinstance(error, ImportError) else ''
        if module in _ABSENT:
            return _reason(module)
        error = error.__cause__ or error.__context__
    return None


def need_openmmlab():
    """Skips a test whose child processes need OpenMMLab's packages."""
    for module in OPENMMLAB:
        if module in _ABSENT:
            pytest.skip(_reason(module))


class _Anything:
    """Whatever is asked of hypothesis' strategies."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return self


def _stand_in_for_hypothesis():
    """Lets files import hypothesis where it is not: of their tests, those that draw examples are skipped alone."""
    module = ModuleType('hypothesis')
    module.__spec__ = ModuleSpec('hypothesis', None)  # which others ask for
    module.given = lambda *args, **kwargs: pytest.mark.skip(reason=_reason('hypothesis'))
    module.settings = lambda *args, **kwargs: lambda function: function
    module.strategies = _Anything()
    sys.modules['hypothesis'] = module


if 'hypothesis' in _ABSENT:
    _stand_in_for_hypothesis()


class _File(pytest.Module):
    """A file of tests that may need what is not installed."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            reason = reason_of(error)
            if reason is None:
                raise
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return _File.from_parent(parent, path=module_path)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    reason = reason_of(call.excinfo.value) if report.failed and call.excinfo is not None else None
    if reason is not None:
        path, line, _ = item.location
        report.outcome, report.longrepr = 'skipped', (path, (line or 0) + 1, f'Skipped: {reason}')


def pytest_report_header():
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    absent = ', '.join(module for module in _SOURCES if module in _ABSENT)
    return [f'torch {torch.__version__} on {", ".join(devices) or "CPUs"}, Python {sys.version.split()[0]}',
            *([f'not installed, so what needs it is skipped: {absent}'] if absent else [])]
