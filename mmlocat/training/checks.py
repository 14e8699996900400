"""Lists all checks that run before a training or test, in order, and runs them.

A check is a function ``(config, context) -> remarks`` and a line in ``CHECKS``. It raises an error that says what is
wrong and what to change. A check that changes the config says so in its docstring.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple

from mmengine.config import Config

from .amp import check_precision
from .config_types import check_types
from .config_values import check_values
from .context import BUILD, TEST, TRAIN, Context, read_options
from .course import check_course
from .dry_run import refuse_dry_test, write_elsewhere
from .hardware import adapt_to_hardware, adapt_total_batch, check_launcher, join_processes
from .hook_state import check_hook_states
from .initial_weights import find_weights, fit_weights, read_safely, set_initial_checkpoint
from .loss_check import check_losses
from .model_check import build_model, build_optimizer, check_last_batch, check_model, check_needs
from .provenance import check_work_dir, claim_work_dir
from .recompute import check_recomputed
from .resume import apply_resume, tell_changes
from .screen import IN_FILE, say
from .seeding import prepare_determinism
from .training_data import build_data, check_training_data


class Check(NamedTuple):
    """One check and the moments at which it runs."""

    # BUILD, before the Runner is built; TRAIN or TEST, when such a job begins; or several, separated by spaces. TRAIN
    # and TEST checks that need only the config run before the Runner is built, if the job is already known then.
    when: str
    look: Callable[[Config, Context], List[str]]
    needs: str = 'config'  # or 'runner', if it looks at parts that the Runner has built


JOBS = f'{TRAIN} {TEST}'
CHECKS: List[Check] = [
    Check(BUILD, read_options),  # the config's own `checks`
    Check(TEST, refuse_dry_test),
    Check(BUILD, check_work_dir),
    Check(BUILD, check_launcher),
    Check(f'{BUILD} {JOBS}', check_types),  # do all parts exist and take these arguments
    Check(BUILD, check_values),  # numbers, choices, settings that must fit together
    Check(JOBS, check_course),  # will what it counts on ever come
    Check(TRAIN, check_precision),
    Check(f'{BUILD} {TRAIN}', adapt_total_batch),  # changes the learning rate, if auto_scale_lr.enable
    Check(BUILD, read_safely),  # code inside pickles does not run
    Check(BUILD, set_initial_checkpoint),  # changes backbone.init_cfg
    Check(BUILD, apply_resume),  # changes load_from and the seed
    Check(JOBS, find_weights),  # of a test: changes backbone.init_cfg
    Check(TRAIN, check_training_data),
    Check(BUILD, adapt_to_hardware),  # without CUDA: changes settings that need it
    Check(BUILD, tell_changes),  # since the resumed run
    Check(BUILD, prepare_determinism),
    Check(BUILD, join_processes),
    Check(TRAIN, claim_work_dir),  # one training at a time in a work dir
    Check(BUILD, write_elsewhere),  # in a dry run: changes work_dir, and vis_backends
    # Checks of the parts that the Runner has built.
    Check(JOBS, build_model, 'runner'),
    Check(TRAIN, check_needs, 'runner'),  # has it the hooks that the model says it needs
    Check(TRAIN, check_recomputed, 'runner'),
    Check(TRAIN, check_hook_states, 'runner'),  # can a checkpoint with them be read
    Check(JOBS, fit_weights, 'runner'),
    Check(JOBS, check_model, 'runner'),  # do its parts fit together
    Check(TRAIN, check_losses, 'runner'),  # can they take ignored pixels
    Check(JOBS, build_data, 'runner'),  # and do its classes match the heads
    Check(TRAIN, check_last_batch, 'runner'),  # can it train on what is left of the data at the end of an epoch
    Check(TRAIN, build_optimizer, 'runner'),
]


def run_checks(moment: str, config: Config, context: Context) -> None:
    """Runs a moment's checks that have not run yet for this job; the first process prints their remarks."""
    if moment != BUILD:
        context.job = moment
    context.trained |= context.job == TRAIN
    for check in CHECKS:
        when = check.when.split()
        early = moment == BUILD and check.needs == 'config' and context.job in when
        if (check, context.job) in context.done or not (moment in when or early):
            continue
        for remark in check.look(config, context):
            context.remarks.append(remark)
            say(remark)
            if context.runner is not None:
                context.runner.logger.info(remark, extra=IN_FILE)  # the screen has it
        context.done.add((check, context.job))
