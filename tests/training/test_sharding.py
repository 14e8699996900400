"""FlexibleRunner and FSDP: what is set for CPUs, and what is refused at start."""

import pytest
import torch
from mmengine.config import Config

from mmlocat.training.context import Context
from mmlocat.training.fsdp import WholeMetadataHook, wrap_transformer_blocks
from mmlocat.training.hardware import adapt_to_hardware, check_launcher
from mmlocat.training.runner import CheckedFlexibleRunner, runner_class
from tests.conftest import ROOT
from tests.helpers.siblings import FAMILY, sibling

FSDP = ROOT / 'configs' / '_base_' / 'fsdp.py'


def leaf(**changes):
    config = Config.fromfile(str(ROOT / 'configs' / 'locatvit-nano_upernet_digitscenes.py'))
    config.update({'launcher': 'none', **changes})
    return config


def test_strategies_are_put_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = leaf(launcher='pytorch', **Config.fromfile(str(FSDP)))
    adapt_to_hardware(config, Context())
    assert config.strategy.model_wrapper.device_id == 'cpu' and config.strategy.model_wrapper.use_orig_params
    config = leaf(launcher='pytorch', strategy=dict(type='FSDPStrategy'))
    adapt_to_hardware(config, Context())
    assert config.strategy.model_wrapper == dict(type='MMFullyShardedDataParallel', device_id='cpu')
    config = leaf(launcher='pytorch', strategy=dict(type='DDPStrategy', model_wrapper=dict(broadcast_buffers=True)))
    adapt_to_hardware(config, Context())
    assert config.strategy.model_wrapper == dict(
        type='MMDistributedDataParallel', broadcast_buffers=True, find_unused_parameters=False, device_ids=None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    config = leaf(launcher='pytorch', strategy=dict(type='FSDPStrategy'))
    adapt_to_hardware(config, Context())
    assert config.strategy == dict(type='FSDPStrategy')


def test_sharding_without_a_launcher_is_refused():
    check_launcher(leaf(), Context())
    with pytest.raises(RuntimeError, match='FSDP shards over processes.*tools/dist_train.sh CONFIG GPUS'):
        check_launcher(leaf(**Config.fromfile(str(FSDP))), Context())


def test_what_a_flexible_runner_would_ignore_is_refused(tmp_path):
    config = leaf(runner_type='FlexibleRunner', activation_checkpointing=['backbone.layers.0'], work_dir=str(tmp_path))
    runner = runner_class(config).from_cfg(config)
    with pytest.raises(ValueError, match='FlexibleRunner ignores activation_checkpointing; .*with_cp=True'):
        runner.prepare_training()
    assert runner_class(leaf(**Config.fromfile(str(FSDP)))) is type(runner) is CheckedFlexibleRunner


@pytest.mark.parametrize('name', FAMILY)
def test_a_unit_is_a_block(name):
    model = sibling(name)
    units = [module for module in model.modules() if wrap_transformer_blocks(module, False, 0)]
    assert units == list(model.blocks) and len(units) == 4 and wrap_transformer_blocks(model, True, 0)


def test_metadata_also_stands_under_the_own_name():
    state = torch.nn.Linear(1, 1).state_dict()
    state._metadata['_fsdp_wrapped_module.backbone'] = dict(ref_grid=(6, 6))
    WholeMetadataHook().before_save_checkpoint(None, dict(state_dict=state))
    assert state._metadata['backbone'] == state._metadata['_fsdp_wrapped_module.backbone'] == dict(ref_grid=(6, 6))
    WholeMetadataHook().before_save_checkpoint(None, dict(state_dict={}))
