"""Suggests names that a user may have meant instead of one that does not exist."""

from __future__ import annotations

import difflib
from typing import Dict, Iterable, List


def near_names(name: str, known: Iterable[str], most: int = 3) -> List[str]:
    """Returns known names that begin with a name, resemble or contain it, whatever their case; best first.

    Args:
        name: The unknown name.
        known: The known names; entries that are not strings are left out.
        most: How many to return at most.
    """
    by_case: Dict[str, str] = {other.lower(): other for other in known if isinstance(other, str)}
    wanted = name.lower()
    found = [other for other in sorted(by_case) if len(wanted) > 2 and other.startswith(wanted)]
    found += difflib.get_close_matches(wanted, by_case, n=most, cutoff=0.65)
    found += [other for other in sorted(by_case) if len(wanted) > 2 and wanted in other]
    return [by_case[other] for other in dict.fromkeys(found)][:most]


def suggestion(name: str, known: Iterable[str], most: int = 3) -> str:
    """Returns the end of an error message, '; did you mean A or B?', or '' if no name is near; see ``near_names``."""
    names = near_names(name, known, most)
    return f'; did you mean {" or ".join(names)}?' if names else ''
