"""A checkout in miniature: the shipped tools, on configs of a nano backbone and data of a few images."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

import numpy as np
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmlocat.config import load_config
from tests.conftest import ROOT, child_environment
from tests.helpers.forked import run_python
from tests.helpers.layouts import make, nano_config

# What a nano backbone learns from a dozen images in two steps. All else is as the leaf's own config has it.
SHORT = {'imagenet': 'train_cfg = dict(max_epochs=1)\n',
         'ade20k': 'train_cfg = dict(max_iters=2, val_interval=2)\ndefault_hooks = dict(checkpoint=dict(interval=2))\n'}
LEAVES = ('locatvit_imagenet', 'vit_imagenet', 'vit_linear_ade20k', 'locatvit_linear_ade20k',
          'locatvit_upernet_ade20k')
SUITES = {
    'digitscenes': '''rows:
  - {config: vit-nano_digitscenes.py, seeds: [0]}
  - {config: vit-nano_linear_digitscenes.py, seeds: [0], checkpoint: vit-nano_digitscenes}
''',
    'digitscenes-variants': '''rows:
  - {config: swin-nano_digitscenes.py}
  - {config: swin-nano_knn_digitscenes.py, checkpoint: swin-nano_digitscenes}
  - {config: swin-nano_hummingbird_digitscenes.py, checkpoint: swin-nano_digitscenes}
''',
    'retrofit': '''datasets: [digitscenes]
rows:
  - {name: DATASET/start, config: vit-nano_DATASET.py}
  - {name: DATASET/more, config: locatvit-nano-identity_DATASET.py, checkpoint: DATASET/start, share: 0.02}
  - {name: DATASET/head, config: locatvit-nano-identity_linear_DATASET.py, checkpoint: DATASET/more}
''',
    'paper': '''rows:
  - {config: vit_imagenet.py, seeds: [0]}
  - {config: vit_linear_ade20k.py, seeds: [0], checkpoint: vit_imagenet}
  - {config: locatvit_linear_ade20k.py, seeds: [0]}
'''}
# What Slurm would do on GPUs: start --ntasks processes that know one another. mmengine's launcher for it wants CUDA.
SRUN = '''#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --ntasks=* ]] && tasks=${1#*=}; shift; done
arguments=("$@"); [[ ${arguments[-1]} == slurm ]] || exit 3
arguments[-1]=pytorch
for ((rank = 0; rank < tasks; rank++)); do
    MASTER_ADDR=127.0.0.1 WORLD_SIZE=$tasks RANK=$rank LOCAL_RANK=$rank "${arguments[@]}" & jobs[rank]=$!
done
for job in "${jobs[@]}"; do wait "$job" || exit $?; done
'''


class Checkout:
    """What `git clone` gives, made small, in ``folder``."""

    def __init__(self, folder, digit_scenes):
        self.folder = folder
        for name in ('mmlocat', 'tools', 'demo', 'configs', 'docs'):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
        for name in ('README.md', 'Makefile', 'setup.py', 'pyproject.toml', 'MANIFEST.in', 'model-index.yml'):
            shutil.copy(ROOT / name, folder)
        for name, text in SUITES.items():
            (folder / 'configs' / 'suites' / f'{name}.yml').write_text(text)
        schedule = folder / 'configs' / '_base_' / 'schedules' / 'digitscenes_seg.py'
        schedule.write_text(self.replaced('800', '6', schedule.read_text()))
        upernet = folder / 'configs' / 'vit-nano_upernet_digitscenes.py'
        upernet.write_text(self.replaced('_iterations = 600', '_iterations = 6', upernet.read_text()))
        spec = folder / 'mmlocat' / 'datasets' / 'digit_scenes' / 'spec.py'
        spec.write_text(self.replaced('(36000, 2000, 2000)', '(160, 32, 32)', self.replaced(
            '(1500, 500, 500)', '(32, 8, 9)', spec.read_text())))
        for name in LEAVES:
            self._shrink(name)
        for name in ('ade20k', 'imagenet'):
            make(name, folder)
        cache = folder / '.cache' / 'mmlocat'
        cache.mkdir(parents=True)
        (cache / 'digit_scenes-v1-seed0').symlink_to(digit_scenes)
        pixels = np.random.default_rng(0).integers(0, 256, (36, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'photo.jpg')
        (folder / 'bin').mkdir()
        (folder / 'bin' / 'srun').write_text(SRUN)
        (folder / 'bin' / 'srun').chmod(0o755)
        self.environment = dict(
            child_environment(), PYTHONPATH=str(folder), XDG_CACHE_HOME=str(folder / '.cache'), OMP_NUM_THREADS='1',
            PATH=os.pathsep.join((str(folder / 'bin'), str(Path(sys.executable).parent), os.environ['PATH'])))

    @staticmethod
    def replaced(old, new, text):
        """Returns ``text`` with ``new``; there must have been something to replace."""
        assert old in text, f'no {old} in {text}'
        return text.replace(old, new)

    def _shrink(self, name):
        leaf = self.folder / 'configs' / f'{name}.py'
        text = nano_config(self.folder, name).read_text() + SHORT[name.split('_')[-1]]
        leaf.write_text(f'{text}auto_scale_lr = dict(base_batch_size=8)\n')
        config = load_config(str(leaf))
        if config.get('checkpoint'):  # published weights: a file of such a backbone stands for them
            weights = self.folder / f'{name}.pth'
            init_default_scope('mmseg')
            backbone = MODELS.build(dict(config.model.backbone, init_cfg=None))
            torch.save(dict(state_dict=backbone.state_dict()), weights)
            leaf.write_text(f'{leaf.read_text()}checkpoint = {str(weights)!r}\n'
                            f'model["backbone"]["init_cfg"] = dict(type="Pretrained", checkpoint=checkpoint)\n')

    def run(self, command, timeout=300, **variables):
        """Runs a command line, with further variables in its environment; returns what it said on both streams."""
        environment = {**self.environment, **variables}
        python, *words = shlex.split(Template(command).safe_substitute(environment))
        if python == 'python' and words[0] != '-m':  # nothing of what these do needs a shell
            result = run_python(*words, cwd=self.folder, environment=environment, timeout=timeout)
        else:
            result = subprocess.run(['bash', '-c', command], cwd=self.folder, env=environment, text=True,
                                    capture_output=True, timeout=timeout)
        said = result.stdout + result.stderr
        assert result.returncode == 0, f'{command}\nexit code {result.returncode}\n{said[-4000:]}'
        return said

    def products(self, pattern):
        """Returns the files of a pattern; there must be some."""
        found = sorted(self.folder.glob(pattern))
        assert found, f'no {pattern} in {self.folder}'
        return found

    def settle(self, folder, last):
        """Gives the last checkpoint of a short training the name that a long one's has."""
        made, = self.products(f'work_dirs/{folder}/{re.match("[a-z]+", last)[0]}_*.pth')
        made.rename(made.with_name(last))
