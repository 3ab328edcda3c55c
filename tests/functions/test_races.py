"""Two workers at once: at every call that one makes on the world, the other has its whole turn.

The second worker's turn stands in turn at each boundary between two calls of the first; both orders of a pair are told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from tests.functions.faults import BusyOnce, Calls, bring_to_an_end, built_twice, overfull, slow_to_start, survive
from tests.functions.world import ALL, World

from slipway.adapters.memory.builder import MemoryBuilder
from slipway.adapters.memory.target import MemoryTarget
from slipway.errors import Permanent
from slipway.functions import control
from slipway.functions.advance import advance
from slipway.functions.build import build
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.machine import PREPARE_LEASE
from slipway.model import BuildRequest, BuildStatus, Changed, Launch, QueueKey, RunPhase, RunStatus, State
from slipway.ports import Ports

Turn = Callable[[Ports], object]
KEY = QueueKey("team", "gpu")


class NoSuchMachine(MemoryTarget):
    def start(self, launch: Launch) -> RunStatus:
        raise Permanent("no machine type of that name")


# --- worlds and the two turns that meet in them
def submitted(world: World, **queue: object) -> str:
    world.queue(**queue)
    item = world.submit().id
    world.bus.ack(world.bus.receive(ALL, limit=10))
    return item


def two_deliveries(world: World) -> tuple[Turn, Turn]:
    item = submitted(world)
    return partial(advance, item), partial(advance, item)


def start_and_cancel(world: World) -> tuple[Turn, Turn]:
    item = submitted(world)
    return partial(advance, item), partial(control.cancel, item)


def slow_start_and_cancel(world: World) -> tuple[Turn, Turn]:
    world.target = MemoryTarget(slow_to_start)
    return start_and_cancel(world)


def refused_start_and_cancel(world: World) -> tuple[Turn, Turn]:
    world.target = BusyOnce()
    return start_and_cancel(world)


def impossible_start_and_cancel(world: World) -> tuple[Turn, Turn]:
    world.target = NoSuchMachine()
    return start_and_cancel(world)


def stalled_start_and_cancel(world: World) -> tuple[Turn, Turn]:
    """The starter stands still for longer than its lease: the item is over when it goes on."""
    item = submitted(world)

    def cancel_and_wait(ports: Ports) -> None:
        control.cancel(item, ports)
        world.clock.advance(MemoryTarget.start_lease + 1)
        tick(ports)

    return partial(advance, item), cancel_and_wait


def stalled_start_and_tick(world: World) -> tuple[Turn, Turn]:
    item = submitted(world)

    def wait(ports: Ports) -> None:
        world.clock.advance(MemoryTarget.start_lease + 1)
        tick(ports)

    return partial(advance, item), wait


def start_and_tick(world: World) -> tuple[Turn, Turn]:
    return partial(advance, submitted(world)), tick


def build_and_cancel(world: World) -> tuple[Turn, Turn]:
    world.queue()
    item = world.submit_code().id
    return partial(build, item), partial(control.cancel, item)


def build_and_build_again(world: World) -> tuple[Turn, Turn]:
    world.queue()
    item = world.submit_code().id
    return partial(build, item), partial(build, item)


def two_builds_of_one_image(world: World) -> tuple[Turn, Turn]:
    world.queue(max_jobs=-1)
    one, other = (world.submit_code().id for _ in range(2))
    return partial(build, one), partial(build, other)


def a_build_and_a_whole_other_of_the_image(world: World) -> tuple[Turn, Turn]:
    """The other's build is over before the first has asked whether anyone builds."""
    world.queue(max_jobs=-1)
    one, other = (world.submit_code().id for _ in range(2))

    def begin_and_end(ports: Ports) -> None:
        build(other, ports)
        for request in world.builder.started:
            world.builder.end(request.image, request.attempt)
        tick(ports)

    return partial(build, one), begin_and_end


def stalled_build_and_tick(world: World) -> tuple[Turn, Turn]:
    world.queue()
    item = world.submit_code().id

    def wait(ports: Ports) -> None:
        world.clock.advance(PREPARE_LEASE + 1)
        tick(ports)
        world.deliver_all()

    return partial(build, item), wait


def built_and_cancel(world: World) -> tuple[Turn, Turn]:
    world.queue()
    item = world.submit_code()
    world.deliver_all()
    image = world.item(item).image or ""
    world.builder.end(image)
    return partial(observe, Changed(image=image)), partial(control.cancel, item.id)


def ended_and_told_twice(world: World) -> tuple[Turn, Turn]:
    first, _ = ended_with_one_in_line(world)
    return partial(observe, Changed(item_id=first)), partial(advance, first)


def ended_and_next_in_line(world: World) -> tuple[Turn, Turn]:
    first, second = ended_with_one_in_line(world)
    return partial(observe, Changed(item_id=first)), partial(advance, second)


def ended_and_next_cancelled(world: World) -> tuple[Turn, Turn]:
    first, second = ended_with_one_in_line(world)
    return partial(observe, Changed(item_id=first)), partial(control.cancel, second)


def ended_and_priority_changed(world: World) -> tuple[Turn, Turn]:
    first, second = ended_with_one_in_line(world, prioritization=True)
    return partial(observe, Changed(item_id=first)), partial(control.reprioritise, second, 0)


def ended_with_one_in_line(world: World, **queue: object) -> tuple[str, str]:
    world.queue(max_jobs=1, **queue)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    world.end(first)
    return first.id, second.id


def preempted_and_told_twice(world: World) -> tuple[Turn, Turn]:
    item = preempted(world)
    return partial(observe, Changed(item_id=item)), partial(advance, item)


def preempted_and_cancelled(world: World) -> tuple[Turn, Turn]:
    item = preempted(world)
    return partial(observe, Changed(item_id=item)), partial(control.cancel, item)


def preempted(world: World) -> str:
    world.queue(max_jobs=1)
    item = world.submit()
    world.deliver_all()
    world.end(item, RunPhase.PREEMPTED, reason="node drained")
    return item.id


def running_and_cancelled_twice(world: World) -> tuple[Turn, Turn]:
    item = submitted(world)
    advance(item, world.ports)
    return partial(control.cancel, item), partial(control.cancel, item)


def two_for_the_last_slot(world: World) -> tuple[Turn, Turn]:
    world.queue(max_jobs=1)
    one, other = (world.submit().id for _ in range(2))
    world.bus.ack(world.bus.receive(ALL, limit=10))
    return partial(advance, one), partial(advance, other)


def start_and_a_cap_taken_away(world: World) -> tuple[Turn, Turn]:
    item = submitted(world, max_jobs=1)
    return partial(advance, item), apply(world, max_jobs=-1)


def start_and_a_cap_set(world: World) -> tuple[Turn, Turn]:
    item = submitted(world, max_jobs=-1)
    return partial(advance, item), apply(world, max_jobs=1)


def start_and_the_queue_deleted(world: World) -> tuple[Turn, Turn]:
    item = submitted(world)
    return partial(advance, item), lambda ports: ports.store.delete_queue(KEY)


def pause_and_start(world: World) -> tuple[Turn, Turn]:
    item = submitted(world)

    def off_and_on(ports: Ports) -> None:
        control.pause(KEY, ports)
        control.resume(KEY, ports)

    return partial(advance, item), off_and_on


def apply(world: World, **changes: object) -> Turn:
    queue = world.store.queue(KEY)
    assert queue is not None
    return partial(control.apply_queue, replace(queue, version=0, **changes))  # type: ignore[arg-type]


PAIRS = [
    two_deliveries,
    start_and_cancel,
    slow_start_and_cancel,
    refused_start_and_cancel,
    impossible_start_and_cancel,
    stalled_start_and_cancel,
    stalled_start_and_tick,
    start_and_tick,
    build_and_cancel,
    build_and_build_again,
    two_builds_of_one_image,
    a_build_and_a_whole_other_of_the_image,
    stalled_build_and_tick,
    built_and_cancel,
    ended_and_told_twice,
    ended_and_next_in_line,
    ended_and_next_cancelled,
    ended_and_priority_changed,
    preempted_and_told_twice,
    preempted_and_cancelled,
    running_and_cancelled_twice,
    two_for_the_last_slot,
    start_and_a_cap_taken_away,
    start_and_a_cap_set,
    start_and_the_queue_deleted,
    pause_and_start,
]


def meeting(pair: Callable[[World], tuple[Turn, Turn]], swapped: bool, at: int) -> tuple[bool, list[str]]:
    """Whether the first turn had a call number `at`, and which promises were broken when the second came before it."""
    world = World(instant=False)
    first, second = reversed(pair(world)) if swapped else pair(world)
    broken: list[str] = []

    def meanwhile() -> None:
        survive(lambda: second(world.ports))

    calls = Calls({(at, "before"): meanwhile})
    survive(lambda: first(calls.watch(world.ports)))
    broken += overfull(world)
    broken += [*bring_to_an_end(world, calls), *built_twice(world)]
    return len(calls.made) > at, broken


@pytest.mark.parametrize("swapped", [False, True], ids=["", "swapped"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.__name__)
def test_two_workers_break_no_promise_wherever_they_meet(pair, swapped: bool) -> None:
    broken = {}
    at, met = 0, True
    while met:
        met, found = meeting(pair, swapped, at)
        if found:
            broken[at] = found
        at += 1
    assert broken == {}
    assert at >= 2, "the first turn made no call to meet at"


class Asked(MemoryTarget):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def start(self, launch: Launch) -> RunStatus:
        self.asked.append(launch.run.name)
        return super().start(launch)


class AskedBuilder(MemoryBuilder):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def start(self, request: BuildRequest) -> BuildStatus:
        self.asked.append(request.image)
        return super().start(request)


@pytest.mark.parametrize("pair", [two_deliveries, two_builds_of_one_image], ids=lambda pair: pair.__name__)
def test_a_claim_keeps_a_second_worker_from_asking_the_backend_too(pair) -> None:
    """Design §1.2: without it both start a run, or a build, wherever the backend does not take our names."""
    at, met = 0, True
    while met:
        backend: list[Asked | AskedBuilder] = []

        def with_backends(world: World, backend: list[Asked | AskedBuilder] = backend) -> tuple[Turn, Turn]:
            world.target, world.builder = target, builder = Asked(), AskedBuilder()
            backend.extend((target, builder))
            return pair(world)

        met, broken = meeting(with_backends, False, at)
        assert broken == []
        for each in backend:
            assert len(set(each.asked)) == len(each.asked), f"asked twice when they met at call {at}"
        assert any(each.asked for each in backend)
        at += 1


def test_a_build_message_that_comes_again_after_the_build_failed_builds_nothing_again() -> None:
    """A failed build is tried again for whoever submits next, not for whoever it failed for."""
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    world.deliver_all()
    world.builder.end(world.builder.started[0].image, failure="no such package")
    build(item.id, world.ports)
    assert world.item(item).state is State.FAILED
    assert len(world.builder.started) == 1


def test_a_lost_build_is_begun_again_once() -> None:
    """The builder forgot it: a machine was taken away, a job was pruned."""
    world = World(instant=False)
    world.queue(max_jobs=-1)
    items = [world.submit_code() for _ in range(2)]
    world.deliver_all()
    world.builder.builds.clear()
    for item in items:
        advance(item.id, world.ports)
    world.deliver_all()
    assert len(world.builder.started) == 2
    assert {world.item(item).state for item in items} == {State.BUILDING}


@pytest.mark.parametrize("at", range(12))
def test_a_queue_that_is_resumed_while_it_is_applied_stays_resumed(at: int) -> None:
    world = World()
    world.queue(max_jobs=1, paused=True)
    calls = Calls({(at, "before"): lambda: control.resume(KEY, world.ports)})
    if survive(lambda: apply(world, max_jobs=2, paused=False)(calls.watch(world.ports))) and len(calls.made) > at:
        queue = world.store.queue(KEY)
        assert queue is not None
        assert (queue.paused, queue.max_jobs) == (False, 2)
