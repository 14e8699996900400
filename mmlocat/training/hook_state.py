"""Keeps what hooks remember in checkpoints, so that a resumed training takes the course of an uninterrupted one."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

from mmengine.config import Config
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import Runner

from mmlocat.checkpoints.safe_pickle import not_plain

from .context import Context

_IN_CHECKPOINT = 'hooks'
# mmengine (0.10.7 and OneDL's 0.10.12) gives this hook no ``state_dict``: resumed, it would begin to count anew.
_COUNTED = {EarlyStoppingHook: ('wait_count', 'best_score')}


class HookStateHook(Hook):
    """Saves the state of all hooks in each checkpoint, and gives it back when a training is resumed.

    A hook takes part if it has ``state_dict()`` of plain data and ``load_state_dict(state)``; mmengine's
    ``EarlyStoppingHook`` does too. The state is loaded after every hook's ``before_run`` and before its
    ``before_train``.

    Args:
        trust_pickle: Whether checkpoints may hold any type; otherwise a state that could not be read again is refused.
    """

    priority = 'HIGHEST'

    def __init__(self, trust_pickle: bool = False) -> None:
        self._trust_pickle = trust_pickle
        self._loaded: Dict[str, Any] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the states, and whether the training has ended early, to the checkpoint."""
        states = {name: _state(hook) for name, hook in _hooks(runner)}
        checkpoint[_IN_CHECKPOINT] = dict(states=states, stopped=getattr(runner.train_loop, 'stop_training', False))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keeps the states of a resumed checkpoint until ``before_train``; one that is only loaded has none."""
        if runner._resume:
            self._loaded = checkpoint.get(_IN_CHECKPOINT) or dict(states={}, stopped=False)

    def before_train(self, runner: Runner) -> None:
        """Loads the states, and makes sure that a checkpoint with them can be read.

        Raises:
            ValueError: A hook's state holds what is no plain data, since its ``before_run`` or since it was loaded.
        """
        if self._loaded:
            self._load_states(runner)
        if not self._trust_pickle:
            _refuse_unreadable(runner)

    def _load_states(self, runner: Runner) -> None:
        for name, hook in _hooks(runner):
            if name in self._loaded['states']:
                _load(hook, self._loaded['states'][name])
            else:
                runner.logger.warning(f'The resumed checkpoint holds no state of {name}, which begins anew')
        if self._loaded['stopped']:
            runner.train_loop.stop_training = True
            runner.logger.info('The resumed training had ended early, so there is nothing left to train; to go on all '
                               'the same, resume from an earlier checkpoint')
        self._loaded = {}


def check_hook_states(config: Config, context: Context) -> List[str]:
    """Makes sure that a checkpoint with the states that hooks have from the beginning can be read.

    Raises:
        ValueError: A hook's state holds what is no plain data.
    """
    if not context.options['trust_pickle']:
        _refuse_unreadable(context.runner)
    return []


def _refuse_unreadable(runner: Runner) -> None:
    for name, hook in _hooks(runner):
        try:
            state = _state(hook)
        except Exception:  # a hook may have its state from its own before_run or before_train on
            continue
        found = not_plain(state)
        if found:
            raise ValueError(f'the state_dict of {name} holds {found}, and a checkpoint with it could not be read '
                             'again; a checkpoint may hold numbers, text, lists, dicts and tensors (or set '
                             'checks.trust_pickle=True, here and wherever it is read)')


def _hooks(runner: Runner) -> Iterator[Tuple[str, Hook]]:
    """Yields the hooks with a state, named by class and, from the second of a class on, by number."""
    seen: Dict[str, int] = {}
    for hook in runner.hooks:
        if _counted(hook) or hasattr(hook, 'state_dict') and hasattr(hook, 'load_state_dict'):
            name = type(hook).__name__
            seen[name] = seen.get(name, 0) + 1
            yield name if seen[name] == 1 else f'{name} {seen[name]}', hook


def _counted(hook: Hook) -> Tuple[str, ...]:
    """Returns the attributes that are the state of a hook without ``state_dict``."""
    if hasattr(hook, 'state_dict'):
        return ()
    return next((names for kind, names in _COUNTED.items() if isinstance(hook, kind)), ())


def _state(hook: Any) -> Any:
    names = _counted(hook)
    return {name: getattr(hook, name) for name in names} if names else hook.state_dict()


def _load(hook: Any, state: Any) -> None:
    if not _counted(hook):
        hook.load_state_dict(state)
        return
    for name, value in state.items():
        setattr(hook, name, value)
