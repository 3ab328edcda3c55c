"""The threads of `slipway up` over memory ports: work is done, bugs end no thread, and the end is orderly."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.conditions import eventually
from tests.functions.world import World

from slipway.cli.journal import JsonLine, Line
from slipway.cli.worker import Workers, catch_up
from slipway.errors import Temporary
from slipway.journal import journaled
from slipway.model import Changed, Item, Message, RunPhase, State, Topic
from slipway.ports import Bus, Ports


@contextmanager
def working(ports: Ports, **options: float) -> Iterator[Workers]:
    workers = Workers(ports, **{"tick_seconds": 0.05, **options})  # type: ignore[arg-type]
    workers.start()
    try:
        yield workers
    finally:
        assert workers.stop(10) == []


def state(world: World, item: Item) -> State:
    return world.item(item).state


def test_a_submission_is_carried_to_its_run_and_its_end() -> None:
    world = World()
    world.queue()
    with working(world.ports):
        item = world.submit_code()
        eventually(lambda: state(world, item) in (State.STARTING, State.RUNNING))
        world.end(item)
        world.clock.advance(3600)
        eventually(lambda: state(world, item) is State.FINISHED)


def test_a_watcher_is_heard() -> None:
    class Once:
        def __init__(self) -> None:
            self.told: list[Changed] = []
            self.closed = False

        def changes(self, timeout: float) -> Sequence[Changed]:
            told, self.told = self.told, []
            if not told:
                threading.Event().wait(0.01)
            return told

        def close(self) -> None:
            self.closed = True

    world, watcher = World(), Once()
    world.queue()
    with working(replace(world.ports, watchers=lambda: [watcher])):
        item = world.submit()
        eventually(lambda: state(world, item) in (State.STARTING, State.RUNNING))
        world.end(item, RunPhase.FAILED)
        watcher.told = [Changed(item_id=item.id)]
        eventually(lambda: state(world, item) is State.FAILED)
    assert watcher.closed


def test_a_bug_is_logged_tried_again_and_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    class Buggy:
        """Fails in a way that no adapter may, once per item."""

        def __init__(self, world: World) -> None:
            self._store = world.store
            self.failed: set[str] = set()

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        def item(self, item_id: str) -> Item | None:
            if item_id not in self.failed:
                self.failed.add(item_id)
                raise ZeroDivisionError("a bug")
            return self._store.item(item_id)

    world = World()
    world.queue(max_jobs=-1)
    store = Buggy(world)
    with working(replace(world.ports, store=store), tick_seconds=60) as workers:  # type: ignore[arg-type]
        item = world.submit()
        eventually(lambda: item.id in store.failed)
        eventually(lambda: "a bug" in caplog.text)
        assert state(world, item) is State.PENDING
        world.clock.advance(5)
        world.bus.send(Topic.ADVANCE, "wake")
        eventually(lambda: state(world, item) is not State.PENDING)
        assert workers.problems() == []
    assert "Traceback" in caplog.text


def test_a_bus_that_fails_for_a_while_ends_no_thread() -> None:
    class Locked:
        def __init__(self, bus: Bus) -> None:
            self._bus = bus
            self.refusals = 3

        def __getattr__(self, name: str) -> object:
            return getattr(self._bus, name)

        def receive(self, topics: Sequence[Topic], limit: int = 1, wait: float = 0.0) -> Sequence[Message]:
            if self.refusals > 0:
                self.refusals -= 1
                raise Temporary("the database is locked")
            return self._bus.receive(topics, limit, wait)

    world = World()
    world.queue()
    bus = Locked(world.bus)
    with working(replace(world.ports, bus=bus)) as workers:  # type: ignore[arg-type]
        item = world.submit()
        eventually(lambda: state(world, item) is not State.PENDING)
        assert (bus.refusals, workers.problems()) == (0, [])


def test_a_long_build_holds_up_no_step() -> None:
    """The source of one item takes for ever; another, whose image is there, starts."""
    entered, released = threading.Event(), threading.Event()

    world = World()
    world.queue(max_jobs=-1)
    resolve = world.sources.resolve

    def slow(source: object) -> str:
        entered.set()
        assert released.wait(20)
        return resolve(source)  # type: ignore[arg-type]

    world.sources.resolve = slow  # type: ignore[method-assign, assignment]
    with working(world.ports, advance=1):
        built = world.submit_code()
        assert entered.wait(10)
        ready = world.submit()
        eventually(lambda: state(world, ready) is not State.PENDING)
        assert state(world, built) is State.PENDING
        released.set()
        eventually(lambda: state(world, built) is not State.PENDING)


def test_the_step_in_hand_is_finished_at_the_end_and_the_next_is_left() -> None:
    entered, released = threading.Event(), threading.Event()
    world = World()
    world.queue(max_jobs=-1)
    start = world.target.start

    def slow(launch: object) -> object:
        entered.set()
        assert released.wait(20)
        return start(launch)  # type: ignore[arg-type]

    world.target.start = slow  # type: ignore[method-assign, assignment]
    workers = Workers(world.ports, advance=1, tick_seconds=60)
    workers.start()
    first = world.submit()
    assert entered.wait(10)
    late: list[str] = []
    stopping = threading.Thread(target=lambda: late.extend(workers.stop(20)))
    stopping.start()
    eventually(lambda: workers.problems() == ["it is stopping"])
    second = world.submit()
    released.set()
    stopping.join()
    assert late == []
    assert state(world, first) in (State.STARTING, State.RUNNING)
    assert state(world, second) is State.PENDING


def test_what_hangs_at_the_end_is_named() -> None:
    entered, released = threading.Event(), threading.Event()
    world = World()
    world.queue()

    def hang(_: object) -> object:
        entered.set()
        assert released.wait(20)
        raise Temporary

    world.target.start = hang  # type: ignore[method-assign, assignment]
    workers = Workers(world.ports, advance=1, tick_seconds=60)
    workers.start()
    world.submit()
    assert entered.wait(10)
    assert workers.stop(3) == ["advance-1"]
    released.set()
    eventually(lambda: workers.stop(0.1) == [])


def test_after_a_restart_everything_on_its_way_is_looked_at() -> None:
    world = World()
    world.queue(max_jobs=-1)
    running, waiting = world.submit(), world.submit()
    world.store.save_queue(replace(world.store.queues()[0], max_jobs=1))
    world.deliver_all()
    world.end(running)
    assert state(world, running) is not State.FINISHED
    catch_up(world.ports)
    world.deliver_all()
    assert state(world, running) is State.FINISHED
    assert state(world, waiting) is not State.FAILED


# --- the journal


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="slipway.items"):
        yield caplog


def test_each_change_of_state_is_told_once(told: pytest.LogCaptureFixture) -> None:
    world = World()
    world.clock.advance(4e9)  # after the journal's beginning
    world.queue()
    world.ports = replace(world.ports, store=journaled(world.store))
    item = world.submit()
    world.deliver_all()
    world.end(item, RunPhase.FAILED, reason="exit code 3")
    world.bus.send(Topic.ADVANCE, item.id)
    world.bus.send(Topic.ADVANCE, item.id)
    world.deliver_all()
    lines = [record.getMessage() for record in told.records if record.name == "slipway.items"]
    assert lines[0] == "submitted"
    assert lines[-1].endswith("→ failed: exit code 3")
    assert len(lines) == len(set(lines)) == len(world.item(item).timeline)
    assert [record.levelname for record in told.records if record.name == "slipway.items"][-1] == "WARNING"


def test_log_lines_are_for_people_or_for_programs(told: pytest.LogCaptureFixture) -> None:
    world = World()
    world.clock.advance(4e9)
    world.queue()
    world.ports = replace(world.ports, store=journaled(world.store))
    item = world.submit()
    (record,) = [record for record in told.records if record.name == "slipway.items"]
    assert Line().format(record).endswith(f" info    {item.id} submitted")
    line = json.loads(JsonLine().format(record))
    assert (line["item"], line["queue"], line["state"], line["level"]) == (item.id, "team/gpu", "pending", "info")
