"""Nothing lost, nothing twice, nothing stuck: schedules on fixed seeds. `make simulate` runs as many as one likes.

And the simulator itself: it replays exactly, it goes everywhere, and it is not deaf.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from tests.simulation import simulate
from tests.simulation.calls import KINDS, REFUSED
from tests.simulation.invariants import AT_THE_END
from tests.simulation.scheduler import HarnessError
from tests.simulation.simulate import Outcome, run
from tests.simulation.world import CANARY, World

from slipway.adapters.memory.bus import MemoryBus
from slipway.model import State

SCHEDULES = 150
PARTS = 6


@cache
def outcomes(part: int) -> tuple[Outcome, ...]:
    return tuple(run(seed) for seed in range(part, SCHEDULES, PARTS))


@pytest.mark.parametrize("part", range(PARTS))
def test_no_promise_is_broken_on_fixed_seeds(part: int) -> None:
    broken = {outcome.seed: outcome.violations for outcome in outcomes(part) if outcome.violations}
    assert broken == {}, "make simulate SEED=… TRACE=1 shows each, call by call"


def test_every_kind_of_fault_strikes() -> None:
    faults: Counter[str] = Counter()
    for seed in range(1000, 1060):
        faults.update(run(seed).faults)
    expected = {
        *KINDS,
        REFUSED,
        "killed at its time limit",
        "a message comes late",
        "a message is delivered twice",
        "an event comes twice",
        "an event is lost",
        "stale answer about a run",
        "stale answer about an image",
        "a build fails",
        "a build vanishes",
        "a run vanishes",
        "a run is preempted",
        "a run loses its node",
        "not taken as it is",
    }
    assert expected - faults.keys() == set()


def test_a_seed_replays_exactly() -> None:
    first, again = run(1003, trace=True), run(1003, trace=True)
    assert first.faults
    assert len(first.trace) > 50
    assert first == again
    assert run(1003) == Outcome(1003, first.violations, first.calls, first.faults), "a trace changes nothing"


def test_items_come_to_every_end() -> None:
    ends: Counter[State] = Counter()
    attempts: Counter[int] = Counter()
    for seed in range(40):
        world = World(seed)
        world.live()
        assert world.come_to_rest()
        ends.update(item.state for item in world.ledger.items.values())
        attempts.update(item.attempt for item in world.ledger.items.values())
    assert ends.keys() == {State.FINISHED, State.FAILED, State.STOPPED}
    assert max(attempts) > 2


def test_a_secret_that_gets_out_is_found() -> None:
    world = World(1)
    world.live()
    world.bus.sent.append((next(iter(world.bus.sent))[0], CANARY))
    assert [broken for invariant in AT_THE_END for broken in invariant(world) if "secret" in broken]


def test_an_item_that_is_stuck_a_slot_that_is_held_and_a_run_that_lives_on_are_found() -> None:
    """A world that is cut off in the middle is full of them."""
    found: set[str] = set()
    for seed in range(30):
        world = World(seed)
        world.live()
        found |= {invariant.__name__ for invariant in AT_THE_END for _ in invariant(world)}
        world.scheduler.end()
    assert {"every_item_is_over", "no_slot_is_held"} <= found


def test_a_fault_of_the_simulator_is_told_from_a_fault_of_what_it_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(world: World) -> bool:
        raise ValueError

    monkeypatch.setattr(World, "come_to_rest", broken)
    with pytest.raises(HarnessError, match="seed 1"):
        run(1)


def test_a_bug_of_what_it_tests_is_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MemoryBus, "ack", broken)
    assert any("died of a bug" in violation for violation in run(1).violations)


def test_series_share_no_seed() -> None:
    assert not set(simulate.seeds_of(1, 1000)) & set(simulate.seeds_of(2, 1000))
