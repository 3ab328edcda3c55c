"""What breaks a promise is found, with its cure, and nothing that keeps it is called broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.functions.world import World

from slipway.cli.finding import Finding, Verdict
from slipway.cli.promises import OVERDUE, free_stray_slots, promises
from slipway.errors import Temporary
from slipway.functions.control import cancel
from slipway.model import Item, RunRef, Slot, State
from slipway.step import run_of


def found(world: World) -> dict[str, Finding]:
    return {finding.check: finding for finding in promises(world.ports)}


def verdicts(world: World) -> set[Verdict]:
    return {finding.verdict for finding in found(world).values()}


@pytest.fixture
def world() -> World:
    """Two runs hold the two slots, a third item waits."""
    world = World()
    world.queue(max_jobs=2)
    for _ in range(3):
        world.submit()
    world.deliver_all()
    return world


def items(world: World, state: State) -> list[Item]:
    return list(world.store.items(states=[state]))


def test_a_slipway_at_work_and_one_that_is_done_have_nothing_broken(world: World) -> None:
    assert verdicts(world) == {Verdict.OK}
    assert found(world)["slots"].text.startswith("2 held")
    for item in items(world, State.RUNNING):
        world.end(item)
        cancel(item.id, world.ports)
    world.deliver_all()
    assert verdicts(world) == {Verdict.OK}


@pytest.mark.parametrize("state", [State.RUNNING, State.PENDING])
def test_an_item_past_the_deadline_of_its_state_is_broken(world: World, state: State) -> None:
    item = items(world, state)[0]
    now = world.clock.now()
    # A running item's next look may lie ahead although its deadline is over: its backend does not do as it is told.
    due = now + 60 if state is State.RUNNING else now - OVERDUE
    world.store.save(item.but(deadline=now - OVERDUE, due=due))
    finding = found(world)["deadlines"]
    assert (finding.verdict, item.id in finding.text, "slipway up" in finding.cure) == (Verdict.BROKEN, True, True)


def test_an_item_that_is_over_is_past_no_deadline(world: World) -> None:
    item = items(world, State.RUNNING)[0]
    world.store.save(item.but(state=State.FAILED, deadline=1.0, due=None), Slot.RELEASE)
    assert found(world)["deadlines"].verdict is Verdict.OK


@pytest.mark.parametrize("why", ["over", "another attempt", "nobody"])
def test_a_slot_held_by_what_is_over_is_broken_and_can_be_given_back(world: World, why: str) -> None:
    item = items(world, State.RUNNING)[0]
    match why:
        case "over":
            stray = item.slot
            world.store.save(item.but(state=State.FAILED, due=None, deadline=None))
        case "another attempt":
            stray = item.slot
            world.store.save(item.but(state=State.PENDING, attempt=2, due=None, deadline=None))
        case _:
            stray = "nobody.1"
            world.store.save(item.but(state=State.STOPPED, due=None, deadline=None), Slot.RELEASE)
            # A hand-edited database, say.
            ghost = replace(item, id="nobody", version=0, due=None, deadline=None)
            world.store.save(world.store.create(ghost), Slot.ACQUIRE)
            del world.store._items["nobody"]
            world.store._ids.remove("nobody")
    finding = found(world)["slots"]
    assert (finding.verdict, stray in finding.text, "--free-slots" in finding.cure) == (Verdict.BROKEN, True, True)
    assert free_stray_slots(world.ports) == [f"{stray} of team/gpu"]
    assert found(world)["slots"].verdict is Verdict.OK
    assert len(world.store.held()) == 1
    world.deliver_all()
    assert len(world.store.held()) == 2, "the head of the line is woken"


def test_a_build_that_nobody_waits_for_is_told() -> None:
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    world.deliver_all()
    assert world.item(item).state is State.BUILDING
    assert found(world)["builds"].verdict is Verdict.OK
    cancel(item.id, world.ports)
    finding = found(world)["builds"]
    assert (finding.verdict, str(world.item(item).image) in finding.text) == (Verdict.WARNING, True)
    assert finding.cure


def test_a_run_that_outlives_its_item_is_broken_until_it_is_stopped(world: World) -> None:
    item = items(world, State.RUNNING)[0]
    world.store.save(item.but(state=State.FAILED, due=None, deadline=None), Slot.RELEASE)
    finding = found(world)["runs"]
    assert (finding.verdict, run_of(item).name in finding.text) == (Verdict.BROKEN, True)
    world.target.stop(run_of(item))
    assert found(world)["runs"].verdict is Verdict.OK


def test_a_run_of_an_earlier_attempt_is_nobodys(world: World) -> None:
    item = items(world, State.RUNNING)[0]
    world.store.save(item.but(attempt=2))
    assert RunRef(item.id, 1).name in found(world)["runs"].text


def test_a_backend_that_does_not_answer_is_a_warning_with_its_words(world: World) -> None:
    class Gone:
        def live(self) -> list[RunRef]:
            raise Temporary("the engine is down")

    world.wrap_target = lambda _: Gone()  # type: ignore[assignment, return-value]
    (finding,) = [each for each in promises(world.ports) if each.check == "runs"]
    assert (finding.verdict, "the engine is down" in finding.text) == (Verdict.WARNING, True)
    assert finding.cure
