"""One thing that `slipway doctor` looked at: what it found, and the cure where something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SHOWN = 3
"""Names that a finding tells. More would hide the cure."""


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, with something missing."""
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: Verdict
    text: str
    cure: str = ""


def some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
