"""Bugs that the simulator has found, each with the seed that showed it: planted again it is caught, mended it is not.

A schedule is another one whenever the simulator changes. A seed that no longer catches its bug is replaced by one that
does: plant the bug, and run `make simulate`.
"""

from __future__ import annotations

import pytest
from tests.functions.faults import Calls
from tests.functions.world import World
from tests.simulation.planting import Edit, Mutant, planted
from tests.simulation.simulate import run

from slipway.adapters.memory.bus import MemoryBus
from slipway.functions import control, tick
from slipway.functions.observe import observe
from slipway.model import Changed, State

REDRIVEN = Mutant(
    "A message whose item was stored, and which then failed until it was a dead letter, was redriven under a new name, "
    "and became a second item.",
    (Edit(MemoryBus.redrive, ", self._names.pop(letter_id)", ""),),
)
FORGOTTEN = Mutant(
    "A run whose start arrived after its item had failed and its queue was deleted lived on: the clock asked only the "
    "backends of queues.",
    (Edit(tick._stop_all_orphans, "*ports.resources, ", ""),),
)
PINNED = [(9001409, REDRIVEN), (1575714245013466, FORGOTTEN)]


@pytest.mark.parametrize(("seed", "bug"), PINNED, ids=[str(seed) for seed, _ in PINNED])
def test_a_bug_that_was_found_is_mended_and_would_be_found_again(seed: int, bug: Mutant) -> None:
    assert run(seed).violations == ()
    with planted(bug):
        assert run(seed).violations, bug.name


def test_news_that_lose_a_race_against_a_change_of_priority_do_not_wait_for_the_clock() -> None:
    """Found as seed 3000453: the event that its image is there met a change of priority, stopped at the stale save, and
    the item stood until the next look at its build."""
    world = World(instant=False)
    world.queue(prioritization=True)
    item = world.submit_code()
    world.deliver_all()
    image = world.item(item).image
    assert image is not None
    world.builder.end(image)

    def meet(at: int) -> list[str]:
        calls = Calls({(at, "before"): lambda: control.reprioritise(item.id, 0, world.ports)})
        observe(Changed(image=image), calls.watch(world.ports))
        return calls.made

    save = 5  # wanting, item, presence, queue, head, save
    assert meet(save)[save] == "store.save"
    assert world.item(item).priority == 0
    assert world.item(item).state is State.RUNNING
