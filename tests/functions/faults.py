"""One thing may happen at each call on the world, and the promises hold whatever happened.

A proxy stands before every port, counts the calls of the functions under test, and at a chosen one lets the process
die, an answer get lost, or another worker have its whole turn. Shared by test_crashes.py and test_races.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from tests.functions.world import ALL, World

from slipway.adapters.memory.target import MemoryRun, MemoryTarget
from slipway.errors import Refused, SlipwayError
from slipway.functions.deliver import deliver
from slipway.functions.tick import tick
from slipway.machine import PREPARE_LEASE, TRANSITIONS
from slipway.model import BuildPhase, Desired, Item, Launch, RunPhase, RunStatus, State
from slipway.ports import Ports

AGAIN_VISIBLE = 61.0
"""Seconds after which a message that was not acknowledged is delivered again."""
SETTLING = (*(AGAIN_VISIBLE,) * 3, *(PREPARE_LEASE + 1,) * 5)
"""Seconds between the rounds in which a world comes to rest: inside the leases first, then beyond them."""


class BusyOnce(MemoryTarget):
    """A backend that has no room for the first attempt to start anything."""

    busy = True

    def start(self, launch: Launch) -> RunStatus:
        if self.busy:
            self.busy = False
            raise Refused("no capacity")
        return super().start(launch)


def slow_to_start(launch: Launch, run: MemoryRun) -> None:
    run.move(RunStatus(RunPhase.STARTING, "pulling"))


class Crash(BaseException):
    """The process dies here. Not an Exception, so that nothing under test can outlive it."""


@dataclass
class Calls:
    """The calls made on the ports, in order; `happen` says what takes place before or after the effect of which."""

    happen: Mapping[tuple[int, str], Callable[[], None]] = field(default_factory=dict)
    saved: Callable[[], None] = lambda: None
    """Called whenever a save has taken effect."""
    made: list[str] = field(default_factory=list)
    happened: int = 0
    """How much of it has taken place."""

    def watch(self, ports: Ports) -> Ports:
        return replace(
            ports,
            store=_Watched(ports.store, "store", self),
            bus=_Watched(ports.bus, "bus", self),
            sources=_Watched(ports.sources, "sources", self),
            targets=lambda resource: _Watched(ports.targets(resource), "target", self),
            builders=lambda *which: _Watched(ports.builders(*which), "builder", self),
        )

    def begin(self, name: str) -> int:
        self.made.append(name)
        number = len(self.made) - 1
        self._happens(number, "before")
        return number

    def end(self, number: int) -> None:
        if self.made[number] == "store.save":
            self.saved()
        self._happens(number, "after")

    def _happens(self, number: int, when: str) -> None:
        if (number, when) in self.happen:
            self.happened += 1
            self.happen[number, when]()


class _Watched:
    def __init__(self, port: object, name: str, calls: Calls) -> None:
        self._port, self._name, self._calls = port, name, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        if name == "registry":
            return lambda: _Watched(found(), "registry", self._calls)

        def call(*arguments: Any, **named: Any) -> Any:
            number = self._calls.begin(f"{self._name}.{name}")
            answer = found(*arguments, **named)
            self._calls.end(number)
            return answer

        return call


def survive(work: Callable[[], object]) -> bool:
    """Whether an invocation came to its end. The next one is a process of its own."""
    try:
        work()
    except (Crash, SlipwayError):
        return False
    return True


def deliver_all(world: World) -> int:
    """As `World.deliver_all`, where an invocation may die: its message is not acknowledged, and comes again. How many
    do."""
    left = 0
    for _ in range(200):
        messages = world.bus.receive(ALL, limit=1)
        if not messages:
            return left
        done: list[bool] = []
        survive(lambda message=messages[0], done=done: done.append(deliver(message, world.ports)))  # type: ignore[misc]
        if done == [True]:
            world.bus.ack(messages)
        else:
            left += 1
    raise AssertionError("still messages after 200")


def settle(world: World, calls: Calls) -> None:
    """Time passes and no event arrives, until nothing is left to do: what is left are the messages and the clock. A
    round with a mishap in it does not tell."""
    for seconds in SETTLING:
        happened = calls.happened
        before = [(item.state, item.attempt) for item in world.store.items()]
        world.clock.advance(seconds)
        left = deliver_all(world)
        left += not survive(lambda: tick(world.ports))
        items = world.store.items()
        if (
            left == 0
            and happened == calls.happened
            and before == [(item.state, item.attempt) for item in items]
            and all(map(_at_rest, items))
        ):
            return


def end_builds(world: World) -> None:
    for (image, attempt), status in list(world.builder.builds.items()):
        if status.phase is BuildPhase.RUNNING:
            world.builder.end(image, attempt)


def end_runs(world: World) -> None:
    for launch in world.target.started:
        world.target.end(launch.run, RunStatus(RunPhase.FINISHED, exit_code=0))


def bring_to_an_end(world: World, calls: Calls) -> list[str]:
    """Lets the world come to rest, ends what runs, and says which promises were broken. Empty: none."""
    settle(world, calls)
    broken = [*_unwanted_runs(world), *_ignored_wishes(world)]
    for queue in world.store.queues():
        world.store.save_queue(replace(queue, paused=False))
    end_builds(world)
    settle(world, calls)
    while any(not item.state.terminal for item in world.store.items()):
        before, happened = [item.version for item in world.store.items()], calls.happened
        end_runs(world)
        settle(world, calls)
        if happened == calls.happened and before == [item.version for item in world.store.items()]:
            break
    return [*broken, *_unwanted_runs(world), *_at_the_end(world)]


def overfull(world: World) -> list[str]:
    queues = (queue for queue in world.store.queues() if queue.capped)
    return [
        f"{len(slots)} slots of {queue.max_jobs} in use"
        for queue in queues
        if len(slots := world.store.slots(queue.key)) > queue.max_jobs
    ]


def built_twice(world: World) -> list[str]:
    images = Counter(request.image for request in world.builder.started)
    return [f"{image} was built {times} times" for image, times in images.items() if times > 1]


def _unwanted_runs(world: World) -> list[str]:
    broken = []
    for launch in world.target.started:
        item = world.store.item(launch.run.item_id)
        alive = world.target.status(launch.run).phase in (RunPhase.STARTING, RunPhase.RUNNING)
        if alive and (item is None or item.state.terminal or item.attempt != launch.run.attempt):
            broken.append(f"{launch.run.name} lives on, and its item is {item and item.state}")
    return broken


def _ignored_wishes(world: World) -> list[str]:
    return [
        f"{item.id} is still {item.state} although it is to {item.desired}"
        for item in world.store.items()
        if item.desired != "run" and not item.state.terminal
    ]


def _at_the_end(world: World) -> list[str]:
    items = world.store.items()
    starts = Counter(launch.run.name for launch in world.target.started)
    paths = [(item.id, pairwise(moment.state for moment in item.timeline)) for item in items]
    return [
        *(f"{item.id} is stuck in {item.state}" for item in items if not item.state.terminal),
        *(f"{item_id} went from {a} to {b}" for item_id, path in paths for a, b in path if b not in TRANSITIONS[a]),
        *(f"{item.id} began as {item.timeline[0].state}" for item in items if item.timeline[0].state != State.PENDING),
        *(f"{name} was started {times} times" for name, times in starts.items() if times > 1),
        *(f"slots held at the end: {held}" for queue in world.store.queues() if (held := world.store.slots(queue.key))),
    ]


def _at_rest(item: Item) -> bool:
    runs_or_waits = item.waiting or item.state is State.RUNNING
    return item.state.terminal or (runs_or_waits and item.lease is None and item.desired is Desired.RUN)
