"""The errors of Slipway, on one axis: would a retry help?

    SlipwayError
    ├── Permanent            no: bad input, forbidden, gone
    │   ├── Invalid          input that breaks rules; carries every Problem found, not only the first
    │   ├── Forbidden        the caller, or Slipway itself, may not do this
    │   ├── NotFound         the thing named does not exist
    │   └── AlreadyExists    the name is taken by something that is not ours
    ├── Temporary            yes: throttled, unavailable, timed out. The outcome is unknown
    │   └── Refused          a definite "not now" (quota, capacity): nothing was started
    ├── Stale                a guarded save lost its race; carries the record as it is now
    └── NoSlot               the queue's max_jobs are all in use

An adapter translates its SDK's exceptions into these, chains the cause, and keeps the vendor's words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


class SlipwayError(Exception):
    """Something went wrong."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or _first_line(type(self)))

    @property
    def message(self) -> str:
        return str(self.args[0])


class Permanent(SlipwayError):
    """A retry will not help."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule: where (`overrides.args`), what was given, which rule, and the way out."""

    field: str
    rule: str
    value: Any = None
    fix: str = ""

    def __str__(self) -> str:
        value = "" if self.value is None else f" (got {_short(self.value)})"
        fix = f". {self.fix}" if self.fix else ""
        return f"{self.field}: {self.rule}{value}{fix}"


class Invalid(Permanent):
    """The input breaks a rule."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class Forbidden(Permanent):
    """Not allowed."""


class NotFound(Permanent):
    """There is no such thing."""


class AlreadyExists(Permanent):
    """The name is taken by something that is not ours."""


class Temporary(SlipwayError):
    """A retry may help; whether the attempt took effect is unknown."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which to try again, when the other side said so."""


class Refused(Temporary):
    """Not now: a quota or a capacity limit. Nothing was started."""


class Stale(SlipwayError):
    """The record was changed by someone else since it was loaded."""

    def __init__(self, current: Any = None) -> None:
        super().__init__()
        self.current = current


class NoSlot(SlipwayError):
    """Every slot of the queue is in use."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'queue'?`, or the known words when none is near."""
    words = sorted(known)
    close = get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(words)}" if words else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _first_line(kind: type) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]
