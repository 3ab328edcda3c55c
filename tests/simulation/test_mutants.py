"""The simulator finds bugs: each planted one, with the seeds that are known to catch it.

`make simulate-mutants` looks for them with fresh seeds. A schedule is another one whenever the simulator, or the calls
of the functions, change: where no seed of a bug catches it any more, `make simulate-mutants WANTED=3` names new ones.
"""

from __future__ import annotations

import pytest
from tests.simulation.hunt import hunt
from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import Mutant

CAUGHT_BY: dict[str, tuple[int, ...]] = {
    "409 treated as failure": (31, 34, 43),
    "wake-up lost on release": (13, 14, 28),
    "a secret in the state": (1, 20, 25),
    "no lease": (25, 39, 158),
    "claim after act": (1, 2, 3),
    "no list by label before create": (150, 155, 223),
    "lease guarding every act": (1, 3, 4),
    "save without version guard": (1, 2, 3),
    "event payload trusted": (1, 3, 5),
    "terminal item re-decided": (1, 6, 7),
    "release counted instead of set": (24, 35, 38),
    "running but absent restarted": (38, 51, 57),
    "cancel ignored while building": (14, 16, 17),
    "tick skips a state": (1, 2, 3),
    "waiters of a build forgotten": (14, 18, 39),
    "retry reuses the attempt number": (43, 44, 51),
    "slot moved outside the save": (1, 3, 4),
    "cap off by one": (2, 4, 5),
    "last in, first out": (2, 4, 13),
    "priority ignored": (2, 4, 35),
    "idempotency key ignored": (1, 2, 10),
    "submission taken twice off the bus": (25, 35, 36),
    "build record without guard": (85, 167, 360),
    "time-out taken for a refusal": (38, 56, 799),
    "one stale absence believed": (322, 579, 587),
    "a stop asked for once": (22, 24, 74),
    "a pause ignored": (1, 3, 7),
    "a preemption keeps the slot": (43, 51, 55),
    "resumed without end": (133, 158, 160),
    "a deadline without effect": (10, 41, 67),
}
OTHERS = range(10_000, 10_300)
"""Looked at where none of a bug's own seeds catches it any more."""


def test_there_are_seeds_for_every_bug() -> None:
    assert set(CAUGHT_BY) == {mutant.name for mutant in MUTANTS}
    assert len(MUTANTS) == len(CAUGHT_BY) >= 15


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    found = hunt(mutant, (*CAUGHT_BY[mutant.name], *OTHERS))
    assert found.caught, f"it was reached in {found.reached} of {found.schedules} schedules"
    assert found.harness == 0
