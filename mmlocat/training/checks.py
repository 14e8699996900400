"""Lists all checks that run before a training or test, in order, and runs them.

A check is a function ``(config, context) -> remarks`` and a line in ``CHECKS``. It raises an error that says what is
wrong and what to change. A check that changes the config says so in its docstring.
"""

from __future__ import annotations

import sys
from typing import Callable, List, NamedTuple

from mmengine.config import Config

from .amp import check_precision
from .config_types import check_common_types, check_test_types, check_training_types
from .config_values import check_values
from .context import BUILD, TEST, TRAIN, Context, read_options
from .hardware import adapt_to_hardware, check_launcher, check_sharding, is_main_process, join_processes
from .initial_weights import (
    check_initial_weights,
    check_tested_weights,
    fit_initial_weights,
    fit_tested_weights,
    read_safely,
    set_initial_checkpoint,
)
from .model_check import check_model
from .prepare import build_model, build_optimizer, build_test_data, build_training_data
from .recipe import compare_total_batch, scale_learning_rate
from .recompute import check_recomputed
from .resume import apply_resume, tell_changes
from .seeding import prepare_determinism
from .training_data import check_training_data
from .work_dir import check_work_dir, claim


class Check(NamedTuple):
    """One check and the time at which it runs.

    Args:
        when: BUILD, before the Runner is built; TRAIN or TEST, when such a job begins. TRAIN and TEST checks that need
            only the config run before the Runner is built, if the job is already known then.
        look: The check's function.
        needs: 'config', or 'runner' if it looks at parts that the Runner has built.
    """

    when: str
    look: Callable[[Config, Context], List[str]]
    needs: str = 'config'


CHECKS: List[Check] = [
    Check(BUILD, read_options),  # the config's own `checks`
    Check(BUILD, check_launcher),
    Check(BUILD, check_common_types),  # do model, hooks and visualizer exist and take these arguments
    Check(TRAIN, check_training_types),
    Check(TEST, check_test_types),
    Check(BUILD, check_values),  # numbers, choices, settings that must fit together
    Check(TRAIN, check_precision),
    Check(BUILD, check_work_dir),
    Check(BUILD, scale_learning_rate),  # changes the learning rate, if auto_scale_lr.enable
    Check(TRAIN, compare_total_batch),
    Check(BUILD, read_safely),  # code inside pickles does not run
    Check(BUILD, set_initial_checkpoint),  # changes backbone.init_cfg
    Check(BUILD, apply_resume),  # changes load_from and the seed
    Check(TRAIN, check_initial_weights),
    Check(TEST, check_tested_weights),  # changes backbone.init_cfg
    Check(TRAIN, check_training_data),
    Check(BUILD, adapt_to_hardware),  # without CUDA: changes settings that need it
    Check(BUILD, tell_changes),  # since the resumed run
    Check(BUILD, prepare_determinism),
    Check(BUILD, join_processes),
    Check(BUILD, check_sharding),
    Check(TRAIN, claim),  # one training at a time in a work dir
    # Checks of the parts that the Runner has built.
    Check(TRAIN, build_model, 'runner'),
    Check(TEST, build_model, 'runner'),
    Check(TRAIN, check_recomputed, 'runner'),
    Check(TRAIN, fit_initial_weights, 'runner'),
    Check(TEST, fit_tested_weights, 'runner'),
    Check(TRAIN, check_model, 'runner'),  # do its parts fit together
    Check(TEST, check_model, 'runner'),
    Check(TRAIN, build_training_data, 'runner'),  # and do its classes match the heads
    Check(TEST, build_test_data, 'runner'),
    Check(TRAIN, build_optimizer, 'runner'),
]


def run_checks(moment: str, config: Config, context: Context) -> None:
    """Runs the checks of a moment that have not run yet; the first process prints their remarks.

    Args:
        moment: BUILD, TRAIN or TEST.
        config: The job's config; some checks change it in place.
        context: The job's context.
    """
    if moment != BUILD:
        context.job = moment
    context.trained |= context.job == TRAIN
    for check in CHECKS:
        early = moment == BUILD and check.needs == 'config' and check.when == context.job
        if check in context.done or not (check.when == moment or early):
            continue
        for remark in check.look(config, context):
            context.remarks.append(remark)
            if is_main_process():
                print(f'mmlocat: {remark}', file=sys.stderr, flush=True)
            if context.runner is not None:
                context.runner.logger.info(remark)
        context.done.add(check)
