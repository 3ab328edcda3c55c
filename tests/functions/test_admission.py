"""Who starts next: caps, priority, first in first out, pause, and the wake-up of the head."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.functions.world import ALL, World

from slipway.adapters.memory.target import MemoryTarget
from slipway.errors import Invalid, NotFound, Refused
from slipway.functions import control
from slipway.functions.advance import advance
from slipway.functions.deliver import deliver
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.model import Changed, QueueKey, RunPhase, RunStatus, Slot, State, Topic
from slipway.step import run_of

KEY = QueueKey("team", "gpu")


def running(world: World) -> list[str]:
    return [launch.run.item_id for launch in world.target.started]


def finish(world: World, item) -> None:
    world.end(item)
    observe(Changed(item_id=item.id), world.ports)


def test_no_more_than_max_jobs_run_and_a_freed_slot_wakes_the_head() -> None:
    world = World()
    world.queue(max_jobs=2)
    items = [world.submit() for _ in range(4)]
    world.deliver_all()
    assert running(world) == [item.id for item in items[:2]]
    assert len(world.store.slots(KEY)) == 2
    finish(world, items[0])
    assert running(world) == [item.id for item in items[:3]]
    assert len(world.store.slots(KEY)) == 2


def test_first_in_first_out_whatever_the_order_of_delivery() -> None:
    """S2."""
    world = World()
    world.queue(max_jobs=1)
    items = [world.submit() for _ in range(5)]
    messages = world.bus.receive(ALL, limit=10)
    for message in reversed(messages):
        assert deliver(message, world.ports)
        world.bus.ack([message])
    for item in items:
        finish(world, item)
    assert running(world) == [item.id for item in items]


def test_priority_goes_first_where_the_queue_has_it() -> None:
    """S2: higher priority first (0 is the highest, as in W&B), FIFO inside a priority."""
    world = World()
    world.queue(max_jobs=1, prioritization=True)
    blocker = world.submit()
    world.deliver_all()
    low = [world.submit(priority="low") for _ in range(2)]
    high = [world.submit(priority="high") for _ in range(2)]
    world.deliver_all()
    for item in (blocker, *high, *low):
        finish(world, item)
    assert running(world) == [item.id for item in (blocker, *high, *low)]


def test_priority_means_nothing_where_the_queue_has_it_not() -> None:
    world = World()
    world.queue(max_jobs=1)
    items = [world.submit(priority=priority) for priority in ("low", "critical")]
    world.deliver_all()
    finish(world, items[0])
    assert running(world) == [item.id for item in items]


def test_a_priority_can_be_changed_while_it_waits() -> None:
    world = World()
    world.queue(max_jobs=1, prioritization=True)
    blocker, first, second = (world.submit(priority="low") for _ in range(3))
    world.deliver_all()
    control.reprioritise(second.id, 0, world.ports)
    finish(world, blocker)
    assert running(world)[-1] == second.id
    finish(world, second)
    assert running(world)[-1] == first.id


def test_a_queue_without_a_cap_has_no_slot_record() -> None:
    world = World()
    world.queue(max_jobs=-1)
    for _ in range(10):
        world.submit()
    world.deliver_all()
    assert len(running(world)) == 10
    assert world.store.slots(KEY) == frozenset()


def test_a_paused_queue_starts_nothing_and_goes_on_when_resumed() -> None:
    world = World()
    world.queue(max_jobs=5)
    control.pause(KEY, world.ports)
    for _ in range(3):
        world.submit()
    world.deliver_all()
    assert running(world) == []
    control.resume(KEY, world.ports)
    assert len(running(world)) == 3


def test_a_raised_cap_lets_the_line_in_at_once() -> None:
    world = World()
    queue = world.queue(max_jobs=1)
    for _ in range(3):
        world.submit()
    world.deliver_all()
    control.apply_queue(replace(queue, max_jobs=3), world.ports)
    assert len(running(world)) == 3


def test_applying_the_same_queue_again_changes_nothing() -> None:
    world = World()
    queue = world.queue()
    again, changed = control.apply_queue(replace(queue, version=0), world.ports)
    assert (again.version, changed) == (queue.version, False)


def test_a_queue_does_not_change_its_resource() -> None:
    world = World()
    queue = world.queue()
    with pytest.raises(Invalid, match="resource"):
        control.apply_queue(replace(queue, resource="kubernetes"), world.ports)


def test_a_queue_with_live_items_is_not_deleted() -> None:
    world = World()
    world.queue()
    item = world.submit()
    with pytest.raises(Invalid, match="not over"):
        control.delete_queue(KEY, world.ports)
    control.cancel(item.id, world.ports)
    control.delete_queue(KEY, world.ports)
    with pytest.raises(NotFound):
        control.delete_queue(KEY, world.ports)


def test_a_refusal_of_the_backend_keeps_the_item_in_line_with_the_reason() -> None:
    """Design §1.8."""
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    refusals = [Refused("ResourceLimitExceeded: 0 of 0 ml.p4d.24xlarge", retry_after=30)]

    class Full:
        look_again = start_lease = 60.0

        def start(self, launch):
            if refusals:
                raise refusals.pop()
            return world.target.start(launch)

        status = staticmethod(lambda run: world.target.status(run))
        live = staticmethod(lambda: world.target.live())

    world.wrap_target = lambda _: Full()
    world.deliver_all()
    waiting = world.item(item)
    assert waiting.state is State.PENDING
    assert "ResourceLimitExceeded" in waiting.reason
    assert world.store.slots(KEY) == frozenset()
    tick(world.ports)
    assert world.item(item).state is State.PENDING
    world.clock.advance(31)
    tick(world.ports)
    assert world.item(item).state is State.RUNNING


def test_an_item_that_needs_a_build_does_not_hold_a_slot_meanwhile() -> None:
    world = World(instant=False)
    world.queue(max_jobs=1)
    code = world.submit_code()
    image = world.submit()
    world.deliver_all()
    assert world.item(code).state is State.BUILDING
    assert world.item(image).state is State.RUNNING
    built = world.item(code).image or ""
    world.builder.end(built)
    observe(Changed(image=built), world.ports)
    assert world.item(code).state is State.PENDING
    finish(world, image)
    assert world.item(code).state is State.RUNNING


def test_a_wake_up_lost_in_a_crash_comes_again_with_the_message() -> None:
    world = World()
    world.queue(max_jobs=1)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    world.end(first)

    class Crash(Exception):
        pass

    def crash(key):
        raise Crash

    healthy, world.store.head = world.store.head, crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        advance(first.id, world.ports)
    world.store.head = healthy  # type: ignore[method-assign]
    assert world.item(first).state is State.FINISHED
    advance(first.id, world.ports)
    assert world.item(second).state is State.RUNNING


def test_a_wake_up_lost_for_good_is_repaired_by_the_tick() -> None:
    world = World()
    world.queue(max_jobs=1)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    over = replace(world.item(first), state=State.FINISHED, due=None)
    world.store.save(over, slot=Slot.RELEASE)
    tick(world.ports)
    assert world.item(second).state is State.RUNNING


def test_a_preempted_run_goes_back_in_line_with_the_same_run_id() -> None:
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    world.deliver_all()
    world.end(item, RunPhase.PREEMPTED, reason="node drained")
    observe(Changed(item_id=item.id), world.ports)
    again = world.item(item)
    assert (again.state, again.attempt, again.run_id) == (State.RUNNING, 2, item.run_id)
    assert world.target.started[1].env["WANDB_RESUME"] == "allow"
    assert world.store.slots(KEY) == {f"{item.id}.2"}


def test_a_run_status_told_twice_is_one_line_of_the_timeline() -> None:
    world = World()
    world.queue()
    item = world.submit()
    world.deliver_all()
    for _ in range(3):
        world.target.end(run_of(world.item(item)), RunStatus(RunPhase.RUNNING, reason="epoch"))
        world.bus.send(Topic.ADVANCE, item.id)
    world.deliver_all()
    assert [moment.state.value for moment in world.item(item).timeline] == ["pending", "starting", "running"]


@pytest.mark.parametrize("max_jobs", [-1, 1000])
def test_a_long_line_that_is_let_go_on_goes_on_to_its_end(max_jobs: int) -> None:
    """More than one burst, with no clock to help."""
    world = World()
    world.queue(max_jobs=max_jobs, paused=True)
    for _ in range(120):
        world.submit()
    world.deliver_all(limit=500)
    control.resume(KEY, world.ports)
    world.deliver_all(limit=500)
    assert len(running(world)) == 120


def test_an_item_that_the_backend_refuses_keeps_nobody_else_from_starting() -> None:
    """One asks for a machine that is not to be had; the others ask for what there is."""
    world = World()
    world.queue(max_jobs=1)
    scarce, other, last = (world.submit() for _ in range(3))

    class NoneOfThatKind(MemoryTarget):
        def start(self, launch):
            if launch.run.item_id == scarce.id:
                raise Refused("no ml.p5 to be had", retry_after=600)
            return super().start(launch)

    world.target = NoneOfThatKind()
    world.deliver_all()
    assert world.item(other).state is State.RUNNING
    world.clock.advance(601)
    tick(world.ports)
    assert world.item(scarce).waiting, "its wait is over and the slot is taken: it is first in line again"
    finish(world, other)
    assert "no ml.p5" in world.item(scarce).reason
    assert world.item(last).state is State.RUNNING


def test_a_changed_priority_lets_in_who_is_first_now() -> None:
    world = World()
    world.queue(max_jobs=1, prioritization=True, paused=True)
    first, second = (world.submit(priority="low") for _ in range(2))
    world.deliver_all()
    world.store.save_queue(replace(world.store.queue(KEY), paused=False))
    control.reprioritise(second.id, 0, world.ports)
    assert running(world) == [second.id]
    assert world.item(first).waiting
