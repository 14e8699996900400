"""Packaging of mmlocat. Extras choose between the two families of OpenMMLab packages; nothing depends on both."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# What `mim` and users of a wheel need beside the package; it goes to mmlocat/.mim, as OpenMMLab's own do.
SHARED = ('configs', 'tools', 'demo', 'model-index.yml')


class BuildWithShared(build_py):
    """Copies what is shared into the wheel; an editable install uses the checkout's."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmlocat' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHARED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(source, target / name)

    def get_source_files(self):
        return super().get_source_files() + [str(path.relative_to(ROOT)) for path in self._shared_files()]

    @staticmethod
    def _shared_files():
        for name in SHARED:
            source = ROOT / name
            yield from (path for path in source.rglob('*') if path.is_file()) if source.is_dir() else [source]


VERSION = re.search(r"__version__ = '([^']+)'", (ROOT / 'mmlocat' / '__init__.py').read_text()).group(1)

ONEDL = [
    'onedl-mmengine>=0.10.8', 'onedl-mmcv>=2.3.0', 'onedl-mmpretrain>=1.3.0', 'onedl-mmsegmentation>=1.3.0',
    'torchvision>=0.16'
]
# mmsegmentation 1.2.2 refuses mmcv 2.2.0, the last release of both.
OPENMMLAB = [
    'mmengine>=0.10.3', 'mmcv>=2.0.0,!=2.2.0', 'mmpretrain>=1.2.0', 'mmsegmentation>=1.2.2', 'torchvision>=0.16',
    'ftfy', 'regex'
]
DEMO = ['scikit-learn>=1.2', 'pillow>=9.1', 'filelock>=3.9', 'rich>=12', 'matplotlib>=3.5']
TIMM = ['timm>=0.9']
# The ONNX exporter of PyTorch needs onnxscript; onnxruntime knows its operators (opset 20) since 1.17.
DEPLOY = ['onnx>=1.16', 'onnxscript>=0.5', 'onnxruntime>=1.17', 'rich>=12']
APP = [*DEMO, 'gradio>=6']
# mkdocs 2 drops plugins, which mkdocs-material and mkdocstrings are.
DOCS = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5', 'mkdocstrings[python]>=0.27', 'latex2mathml>=3.77']
COMPLETION = ['argcomplete>=3']
TEST = [
    *DEMO, *TIMM, *DEPLOY, *COMPLETION, 'faiss-cpu>=1.7', 'pytest>=8', 'pytest-xdist>=3.2', 'hypothesis>=6',
    'build>=1', 'tensorboard>=2.11'
]

setup(
    name='mmlocat',
    version=VERSION,
    description='LocAtViT for MMPretrain and MMSegmentation: sharper dense features from a plain vision transformer',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=('mmlocat', 'mmlocat.*')),
    package_data={'': ['README.md'], 'mmlocat.experiments.leaderboard': ['paper_results.csv']},
    cmdclass={'build_py': BuildWithShared},
    entry_points={'console_scripts': ['mmlocat = mmlocat.__main__:main']},
    python_requires='>=3.8',
    install_requires=['torch>=2.1', 'numpy>=1.22', 'safetensors>=0.4', 'huggingface_hub>=0.26'],
    extras_require={
        'onedl': ONEDL,
        'openmmlab': OPENMMLAB,
        'demo': DEMO,
        'app': APP,
        'docs': DOCS,
        'timm': TIMM,
        'deploy': DEPLOY,
        'completion': COMPLETION,
        'test': TEST,
        'dev': [
            *TEST, *APP, *DOCS, 'nbclient>=0.8', 'ipykernel>=6', 'playwright>=1.40', 'ruff>=0.4',
            'pre-commit>=3', 'twine>=5', 'wandb>=0.16'
        ],
    },
    classifiers=[
        'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Image Recognition',
        'Intended Audience :: Science/Research'
    ])
