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
    "409 treated as failure": (16, 31, 38),
    "wake-up lost on release": (4, 13, 14),
    "a secret in the state": (1, 16, 32),
    "no lease": (67, 78, 86),
    "claim after act": (1, 2, 3),
    "lease guarding every act": (1, 3, 4),
    "save without version guard": (1, 2, 3),
    "release counted instead of set": (16, 23, 25),
    "event payload trusted": (1, 3, 7),
    "terminal item re-decided": (2, 4, 6),
    "running but absent restarted": (7, 44, 51),
    "tick skips a state": (2, 5, 7),
    "cancel ignored while building": (28, 34, 39),
    "retry reuses the attempt number": (44, 51, 57),
    "waiters of a build forgotten": (14, 56, 73),
    "slot moved outside the save": (1, 4, 13),
    "build record without guard": (97, 336, 356),
    "cap off by one": (2, 4, 5),
    "last in, first out": (2, 4, 14),
    "priority ignored": (2, 4, 16),
    "idempotency key ignored": (1, 2, 3),
    "submission taken twice off the bus": (14, 24, 33),
    "no list by label before create": (732, 841, 958),
    "time-out taken for a refusal": (56, 563, 635),
    "a stop asked for once": (42, 74, 92),
    "a preemption keeps the slot": (10, 33, 51),
    "a pause ignored": (4, 7, 11),
    "a drain ignored": (29, 42, 45),
    "one stale absence believed": (237, 533, 1024),
    "resumed without end": (39, 71, 76),
    "a deadline without effect": (35, 67, 100),
    "a late run left alone": (638, 792, 1069),
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
