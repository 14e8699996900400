"""What the distributed tests train: several segmentors at once, and a hook that records what they did.

One launch costs ten seconds of imports a process. ``write_config`` makes a config of many segmentors that see the same
images and share nothing else, so that one launch of ``tools/dist_train.sh`` trains them all. The training processes
import this file by the config's ``custom_imports``.
"""

import os
import zlib
from pathlib import Path

import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dist import all_reduce_dict, is_main_process
from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.runner import FlexibleRunner
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import spare_runners

ROOT = Path(__file__).resolve().parents[2]
# Normalised by groups: BatchNorm's statistics are those of one process on a CPU, so a split batch is another batch.
GROUPS = dict(type='GN', num_groups=8, requires_grad=True)
BLOCKS = 4
FROZEN = dict(whole=-1, half=2, frozen=BLOCKS)  # how many blocks have no gradient


def case_name(head, frozen, checkpointing):
    return f'{head}_{frozen}_{checkpointing}'


def plain(name):
    """Returns the name of the case without activation checkpointing."""
    return case_name(*name.split('_')[:2], 'kept')


spare_runners()  # configs of many models are long


@MODELS.register_module(force=True)
class SeveralSegmentors(BaseModel):
    """Independent segmentors on the same images; their losses are added, so each has the gradients it has alone."""

    def __init__(self, data_preprocessor, cases):
        super().__init__(data_preprocessor)
        self.cases = nn.ModuleDict()
        for name, case in cases.items():
            self._seed(name)
            self.cases[name] = MODELS.build(case)

    def init_weights(self):
        for name, case in self.cases.items():
            self._seed(name)
            case.init_weights()

    @staticmethod
    def _seed(name):
        """A case starts from weights of its own, whatever others there are, and however it keeps its activations."""
        torch.manual_seed(zlib.crc32(plain(name).encode()))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'loss'
        return {f'{name}.{key}': value for name, case in self.cases.items()
                for key, value in case(inputs, data_samples, mode='loss').items()}


@TRANSFORMS.register_module(force=True)
class IgnoreRows(BaseTransform):
    """Ignores the first rows of a label map, as many as its file name says: processes get unequal counts."""

    def transform(self, results):
        rows = int(Path(results['seg_map_path']).stem.split('_')[-1]) % 20
        results['gt_seg_map'][:rows] = 255
        return results


@HOOKS.register_module(force=True)
class RecordHook(Hook):
    """Saves, in the first process, logged losses and gradients of every iteration, and the weights after the last."""

    priority = 'VERY_LOW'

    def __init__(self, file, iterations, pids=None):
        self.file, self.iterations, self.pids = Path(file), iterations, pids
        self.losses, self.gradients = [], []

    def before_train(self, runner):
        if self.pids:
            Path(self.pids).mkdir(parents=True, exist_ok=True)
            (Path(self.pids) / os.environ.get('RANK', '0')).write_text(str(os.getpid()))
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model

        def keep(*_):
            self.gradients.append({name: value.grad.clone() for name, value in model.named_parameters()
                                   if value.requires_grad})

        if isinstance(runner, FlexibleRunner):
            return  # each process has its shard of the gradients alone
        runner.optim_wrapper.optimizer.register_step_pre_hook(keep)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        scalars = runner.message_hub.log_scalars
        losses = {name: torch.tensor(float(scalars[name].current())) for name in sorted(scalars) if 'loss' in name}
        all_reduce_dict(losses, op='mean')  # mmengine logs those of the first process
        self.losses.append({name: float(value) for name, value in losses.items()})
        if runner.iter + 1 < self.iterations or self.file.exists():
            return
        own = runner.model.module if isinstance(runner.model, DistributedDataParallel) else runner.model
        weights = own.state_dict()  # in all processes, for FSDP gathers here
        if is_main_process():
            partial = self.file.with_suffix('.part')
            torch.save(dict(losses=self.losses, gradients=self.gradients, weights=weights,
                            wrapper=type(runner.model).__name__), partial)
            partial.replace(self.file)


def segmentor(head, frozen, checkpointing):
    """Returns the model of a shipped DigitScenes config, with what would differ between processes taken out."""
    model = Config.fromfile(str(ROOT / 'configs' / f'locatvit-nano_{head}_digitscenes.py')).model
    model.backbone.update(frozen_stages=FROZEN[frozen], with_cp=checkpointing == 'withcp', init_cfg=None)
    if head == 'upernet':
        for part in (model.decode_head, model.auxiliary_head):
            part.update(norm_cfg=GROUPS, dropout_ratio=0)  # dropout draws other masks in each process
    return model


def write_config(path, cases, data_root, batch, iterations, record, optimizer=None, last=None, **changes):
    """Writes a config that trains ``cases`` and returns its path.

    Args:
        path: The config file.
        cases: Tuples (head, frozen, checkpointing): 'linear' or 'upernet'; a key of ``FROZEN``; and 'kept' for no
            checkpointing, 'withcp' for the backbone's own, 'runner' for the Runner's ``activation_checkpointing``.
        data_root: A DigitScenes folder.
        batch: Images a process.
        iterations: When to record.
        record: The file that ``RecordHook`` writes.
        optimizer: mmengine's config of one. Defaults to SGD with momentum.
        last: When the training ends; ``iterations`` by default.
        **changes: Further keys of the config.
    """
    config = Config.fromfile(str(ROOT / 'configs' / 'locatvit-nano_upernet_digitscenes.py'))
    models = {case_name(*case): segmentor(*case) for case in cases}
    preprocessor = config.model.data_preprocessor
    config.model = dict(type='SeveralSegmentors', data_preprocessor=preprocessor, cases=models)
    recomputed = [f'cases.{case_name(*case)}.backbone.layers.{block}' for case in cases
                  if case[2] == 'runner' for block in range(BLOCKS)]
    if recomputed:
        config.activation_checkpointing = recomputed
    config.pop('checkpoint')
    config.custom_imports.imports = [*config.custom_imports.imports, 'tests.helpers.distributed_cases']
    config.custom_hooks = [dict(type='RecordHook', file=str(record), iterations=iterations, pids=f'{record}.pids')]
    pipeline = list(config.train_dataloader.dataset.pipeline)
    config.train_dataloader.dataset.update(data_root=str(data_root),
                                           pipeline=[*pipeline[:-1], dict(type='IgnoreRows'), pipeline[-1]])
    config.train_dataloader.batch_size = batch
    config.optim_wrapper.optimizer = optimizer or dict(type='SGD', lr=0.05, momentum=0.9)
    config.param_scheduler = None
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=last or iterations)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint.interval = 100000
    config.pop('auto_scale_lr')
    config.update(changes)
    config.dump(str(path))
    return path
