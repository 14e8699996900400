"""Keeps what a long measurement has measured on disk until it has ended, so that an interrupted one goes on."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Union

from .files import atomic_write, check_folder
from .machine import conditions

# How a measurement is called: directly, or through ``KeptRows.call``.
Call = Callable[[Mapping[str, Any], Callable[[], Any]], Any]


def measure_now(key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """Measures without keeping anything; a ``Call``."""
    return measure()


class KeptRows:
    """Rows of a long measurement, on disk from when each is measured until the whole measurement has ended.

    The measurement runs in its ``with`` block. If that ends well, its rows leave the file. If anything stops it, a line
    says what is kept, and the same command goes on from there: it takes a row from the file where its key is equal and
    it was measured by the same code and software on the same kind of machine. Of other rows a line says what differs,
    and they are measured anew.

    Args:
        path: The file, JSON; its rows of other keys stay as they are.
        device: Where is measured, such as 'cpu' or 'cuda'.
        option: The option that names its folder, for the message of an error.

    Raises:
        ValueError: The file cannot be written there.
    """

    def __init__(self, path: Union[str, Path], device: str = 'cpu', option: str = '--work-dir') -> None:
        self.path = Path(path)
        check_folder(option, self.path.parent)
        self._conditions = conditions(device)
        self._entries = self._read()
        self._used: List[str] = []

    def _read(self) -> Dict[str, dict]:
        try:
            found = json.loads(self.path.read_text(encoding='utf-8'))
            if not all({'row', 'date', 'conditions'} <= {*entry} for entry in found.values()):
                raise ValueError('entries lack row, date or conditions')
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f'{self.path} cannot be read ({error}); it should hold the rows of an interrupted '
                             'measurement: move it away') from error
        return found

    def _write(self) -> None:
        if self._entries:
            with atomic_write(self.path) as file:
                json.dump(self._entries, file, indent=1)
        else:
            self.path.unlink(missing_ok=True)

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        """Whether a row is there and was measured under the conditions of today."""
        entry = self._entries.get(_text(key))
        return entry is not None and entry['conditions'] == self._conditions

    def get(self, key: Mapping[str, Any]) -> Optional[Any]:
        """Returns a row that is there, or None; says on stderr what forbids to take one that is."""
        entry = self._entries.get(_text(key))
        if entry is None:
            return None
        if key not in self:
            before, now = entry['conditions'], self._conditions
            changes = [f'{name} {before.get(name)}, now {now.get(name)}' for name in {**now, **before}
                       if before.get(name) != now.get(name)]
            print(f'A kept row of {entry["date"]} is measured anew ({"; ".join(changes)}): {_text(key)}',
                  file=sys.stderr, flush=True)
            return None
        self._used.append(_text(key))
        return entry['row']

    def add(self, key: Mapping[str, Any], row: Any) -> Any:
        """Writes a row, which JSON can hold, under what it depends on; returns it as it will be read again."""
        text, row = _text(key), json.loads(json.dumps(row))
        self._entries[text] = dict(row=row, date=str(date.today()), conditions=self._conditions)
        self._used.append(text)
        self._entries = {**self._read(), text: self._entries[text]}  # another call may have written meanwhile
        self._write()
        return row

    def call(self, key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """Returns the row of a key, measured now if it is not there.

        Args:
            key: All that the row depends on beside code, software and machine.
            measure: Returns the row, which JSON can hold.
        """
        row = self.get(key)
        return row if key in self else self.add(key, measure())

    def __enter__(self) -> KeptRows:
        if self._entries:
            print(f'{self.path} is of an interrupted call: what it holds that fits is not measured again.',
                  file=sys.stderr, flush=True)
        return self

    def __exit__(self, kind: Optional[type], *error: Any) -> None:
        used = {text for text in self._used if text in self._entries}
        if kind is None:
            if used:
                self._entries = {text: entry for text, entry in self._read().items() if text not in used}
                self._write()
        elif used:
            print(f'Measurements kept in {self.path}: {len(used)}. The same command goes on from there.',
                  file=sys.stderr, flush=True)


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
