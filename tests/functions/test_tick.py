"""The clock: what is due is looked at, what fails is put off, and no item keeps another from its turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.world import ALL, World
from tests.unit.test_machine import every_situation

from slipway.adapters.memory.target import MemoryTarget
from slipway.errors import Permanent, Temporary
from slipway.functions.tick import POSTPONE, tick
from slipway.machine import LOOK_AT_BUILD, PREPARE_LEASE, decide
from slipway.model import (
    Launch,
    Presence,
    QueueKey,
    RunPhase,
    RunRef,
    RunStatus,
    Slot,
    Stage,
    State,
    Timeouts,
    Topic,
)
from slipway.ports import Registry
from slipway.step import run_of

KEY = QueueKey("team", "gpu")


class Sick(MemoryTarget):
    """A backend that cannot say how the runs of some items are."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.sick: set[str] = set()
        self.asked: list[str] = []

    def status(self, run: RunRef) -> RunStatus:
        self.asked.append(run.item_id)
        if run.item_id in self.sick:
            raise self.error
        return super().status(run)


def lost_messages(world: World) -> None:
    world.bus.ack(world.bus.receive(ALL, limit=100))


# --- what is due
def test_what_is_not_due_is_not_looked_at() -> None:
    world = World(target=Sick(Temporary()))
    world.queue(max_jobs=-1)
    for _ in range(5):
        world.submit()
    world.deliver_all()
    assert tick(world.ports) == 0
    assert world.target.asked == []


def test_a_running_item_is_looked_at_as_often_as_its_target_wants() -> None:
    world = World(target=Sick(Temporary()))
    world.queue()
    item = world.submit()
    world.deliver_all()
    for _ in range(3):
        world.clock.advance(MemoryTarget.look_again - 1)
        assert tick(world.ports) == 0
        world.clock.advance(1)
        assert tick(world.ports) == 1
    assert world.target.asked == [item.id] * 3


def test_an_end_that_no_event_told_of_is_found() -> None:
    world = World()
    world.queue(max_jobs=1)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    world.end(first)
    world.clock.advance(MemoryTarget.look_again)
    tick(world.ports)
    assert (world.item(first).state, world.item(second).state) == (State.FINISHED, State.RUNNING)


def test_a_build_that_no_event_told_of_is_found() -> None:
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    world.deliver_all()
    world.builder.end(world.builder.started[0].image)
    world.clock.advance(LOOK_AT_BUILD)
    tick(world.ports)
    assert world.item(item).state is State.RUNNING


def test_a_submission_whose_message_was_never_sent_starts_by_the_clock() -> None:
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    lost_messages(world)
    tick(world.ports)
    assert world.item(item).state is State.RUNNING


def test_a_source_whose_message_was_never_sent_is_prepared_when_its_lease_is_over() -> None:
    world = World()
    world.queue()
    item = world.submit_code()
    lost_messages(world)
    world.clock.advance(PREPARE_LEASE)
    tick(world.ports)
    world.deliver_all()
    assert world.item(item).state is State.RUNNING


def test_a_start_that_never_arrived_is_made_again_when_its_lease_is_over() -> None:
    class FirstIsLost(MemoryTarget):
        lost = False

        def start(self, launch: Launch) -> RunStatus:
            if not self.lost:
                self.lost = True
                raise Temporary("connect timed out")
            return super().start(launch)

    world = World(target=FirstIsLost())
    world.queue()
    item = world.submit()
    world.deliver_all()
    assert world.item(item).state is State.STARTING
    world.clock.advance(MemoryTarget.start_lease)
    tick(world.ports)
    assert (world.item(item).state, world.item(item).attempt) == (State.RUNNING, 1)


def test_a_confirmed_start_that_the_backend_does_not_list_yet_is_not_judged_gone() -> None:
    """A backend's lists may lag behind its answers."""

    class Lagging(MemoryTarget):
        lags = True

        def start(self, launch: Launch) -> RunStatus:
            super().start(launch)
            return RunStatus(RunPhase.STARTING, backend_id="job-1")

        def status(self, run: RunRef) -> RunStatus:
            return RunStatus(RunPhase.ABSENT) if self.lags else super().status(run)

    world = World(target=Lagging())
    world.queue()
    item = world.submit()
    world.deliver_all()
    world.bus.send(Topic.ADVANCE, item.id)
    world.deliver_all()
    assert world.item(item).state is State.STARTING
    world.target.lags = False
    world.clock.advance(MemoryTarget.start_lease)
    tick(world.ports)
    assert world.item(item).state is State.RUNNING


@pytest.mark.parametrize("backend_id", [None, "job-1"])
def test_a_run_that_disappeared_fails_and_is_never_started_again(backend_id: str | None) -> None:
    """Design §1.4."""
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    world.deliver_all()
    world.store.save(world.item(item).but(backend_id=backend_id))
    world.target.lose(run_of(item))
    for _ in range(5):
        world.clock.advance(MemoryTarget.look_again)
        tick(world.ports)
    assert world.item(item).state is State.FAILED
    assert "disappeared" in world.item(item).reason
    assert len(world.target.started) == 1


@pytest.mark.parametrize(
    ("timeouts", "state", "stage", "words"),
    [
        (Timeouts(pending=3600), State.PENDING, Stage.LAUNCH, "pending for more than 1 h"),
        (Timeouts(build=600), State.BUILDING, Stage.BUILD, "building for more than 10 min"),
        (Timeouts(start=600), State.STARTING, Stage.LAUNCH, "did not start within 10 min"),
        (Timeouts(run=7200), State.RUNNING, Stage.RUN, "time limit of 2 h"),
    ],
)
def test_no_state_outlives_its_deadline(timeouts: Timeouts, state: State, stage: Stage, words: str) -> None:
    def pulls_for_ever(launch: Launch, run) -> None:
        run.move(RunStatus(RunPhase.STARTING, "pulling"))

    course = [pulls_for_ever] if state is State.STARTING else []
    world = World(instant=False, target=MemoryTarget(*course))
    world.queue(timeouts=timeouts, paused=state is State.PENDING)
    item = world.submit_code() if state is State.BUILDING else world.submit()
    world.deliver_all()
    assert world.item(item).state is state
    for _ in range(200):
        world.clock.advance(60)
        tick(world.ports)
    over = world.item(item)
    assert (over.state, over.stage) == (State.FAILED, stage)
    assert words in over.reason
    assert world.store.slots(KEY) == frozenset()


def test_an_item_that_was_looked_at_and_stays_is_due_later() -> None:
    """Else the longest overdue would fill every tick. Over every situation there is."""
    for item, seen in every_situation():
        unanswered = {
            State.BUILDING: seen.build is None,
            State.STARTING: seen.run is None,
            State.RUNNING: seen.run is None,
        }
        if item.state.terminal or seen.trouble is not None or unanswered.get(item.state, False):
            continue
        after = decide(replace(item, due=seen.now), seen).item
        if not after.state.terminal:
            assert after.due is not None
            assert after.due > seen.now, (item, seen)


# --- trouble
@pytest.mark.parametrize("error", [Temporary("throttled"), Permanent("forbidden"), RuntimeError("a bug")])
def test_an_item_whose_look_fails_is_put_off_and_keeps_no_other_from_its_look(error: Exception) -> None:
    world = World(target=Sick(error))
    world.queue(max_jobs=-1)
    sick, healthy = world.submit(), world.submit()
    world.deliver_all()
    world.target.sick = {sick.id}
    world.clock.advance(MemoryTarget.look_again)
    assert tick(world.ports) == 2
    assert world.target.asked == [sick.id, healthy.id]
    assert world.item(sick).state is State.RUNNING, "it may be alive: nothing is claimed about it"
    world.clock.advance(POSTPONE - 1)
    assert tick(world.ports) == 0


@settings(max_examples=30, deadline=None)
@given(sick=st.sets(st.integers(0, 11), max_size=11), limit=st.integers(1, 4))
def test_however_many_looks_fail_the_others_have_their_turn(sick: set[int], limit: int) -> None:
    world = World(target=Sick(Temporary("throttled")))
    world.queue(max_jobs=-1)
    items = [world.submit() for _ in range(12)]
    world.deliver_all()
    world.target.sick = {items[number].id for number in sick}
    for item in items:
        world.end(item)
    world.clock.advance(MemoryTarget.look_again)
    for _ in range(12 // limit + 1):
        tick(world.ports, limit)
    states = [world.item(item).state for item in items]
    assert states == [State.RUNNING if number in sick else State.FINISHED for number in range(12)]


@pytest.mark.parametrize("error", [Temporary("disk full"), Permanent("too large"), RuntimeError("a bug")])
def test_an_item_that_cannot_be_saved_keeps_no_other_from_its_turn(error: Exception) -> None:
    world = World()
    world.queue(max_jobs=-1)
    cursed, healthy = world.submit(), world.submit()
    world.deliver_all()
    for item in (cursed, healthy):
        world.end(item)
    waiting = world.submit()
    lost_messages(world)
    save = world.store.save

    def refuse_one(item, slot=Slot.KEEP):
        if item.id == cursed.id:
            raise error
        return save(item, slot)

    world.store.save = refuse_one  # type: ignore[method-assign]
    world.clock.advance(MemoryTarget.look_again)
    tick(world.ports)
    assert world.item(healthy).state is State.FINISHED
    assert world.item(waiting).state is State.RUNNING


def test_a_queue_in_trouble_keeps_no_other_from_its_turn() -> None:
    world = World()
    world.queue("a-sick", max_jobs=1)
    world.queue("healthy", max_jobs=1)
    sick, healthy = world.submit(queue="a-sick"), world.submit(queue="healthy")
    lost_messages(world)
    head = world.store.head

    def fail_for_one(key):
        if key.name == "a-sick":
            raise Temporary("throttled")
        return head(key)

    world.store.head = fail_for_one  # type: ignore[method-assign]
    tick(world.ports)
    assert (world.item(sick).state, world.item(healthy).state) == (State.PENDING, State.RUNNING)


def test_a_registry_that_will_never_answer_fails_the_item_and_not_the_line_behind_it() -> None:
    """A head that can never be looked at would keep the whole line waiting until its own deadline, days away."""
    world = World()
    queue = world.queue(max_jobs=1)
    world.store.save_queue(replace(queue, paused=True))
    code, image = world.submit_code(), world.submit()
    world.deliver_all()
    assert world.item(code).waiting

    class Gone:
        def presence(self, image: str) -> Presence:
            raise Permanent("404: the repository was deleted")

    class Orphaned:
        def registry(self) -> Registry:
            return Gone()

    world.builder = Orphaned()  # type: ignore[assignment]
    paused = world.store.queue(KEY)
    assert paused is not None
    world.store.save_queue(replace(paused, paused=False))
    tick(world.ports)
    assert (world.item(code).state, world.item(code).stage) == (State.FAILED, Stage.BUILD)
    assert "404" in world.item(code).reason
    assert world.item(image).state is State.RUNNING


def test_a_line_of_hundreds_is_let_in_without_the_clock() -> None:
    world = World()
    queue = world.queue(max_jobs=0)
    items = [world.submit() for _ in range(120)]
    world.deliver_all()
    world.store.save_queue(replace(queue, max_jobs=200))
    tick(world.ports)
    world.deliver_all()
    assert {world.item(item).state for item in items} == {State.RUNNING}


def test_an_item_of_a_resource_that_is_gone_fails_with_its_slot_given_back() -> None:
    """Its target's name was taken out of the deployment between the submission and the start."""
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()

    def no_such_target(_):
        raise Permanent("there is no resource 'local-process'")

    world.wrap_target = no_such_target
    world.deliver_all()
    assert (world.item(item).state, world.item(item).stage) == (State.FAILED, Stage.LAUNCH)
    assert "local-process" in world.item(item).reason
    assert world.store.slots(KEY) == frozenset()


def test_a_submission_that_is_known_already_is_told_of_again() -> None:
    """The first call may have died between its write and its message."""
    world = World()
    world.queue()
    item = world.submit(idempotency_key="k")
    lost_messages(world)
    assert world.submit(idempotency_key="k").id == item.id
    world.deliver_all()
    assert world.item(item).state is State.RUNNING
