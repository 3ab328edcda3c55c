"""Cancel is a wish that every state honours, one in which nobody knows whether the run was started included."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.functions.faults import BusyOnce, Calls, Crash, slow_to_start, survive
from tests.functions.world import ALL, World

from slipway.adapters.memory.target import MemoryTarget, finishes_at_once
from slipway.errors import NotFound, Permanent, Refused, Temporary
from slipway.functions import control
from slipway.functions.advance import advance
from slipway.functions.deliver import deliver
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.machine import ABSENCE, refused
from slipway.model import Changed, Desired, Item, Launch, QueueKey, RunPhase, RunRef, RunStatus, State
from slipway.step import run_of

KEY = QueueKey("team", "gpu")


class Meanwhile(MemoryTarget):
    """A backend at which something happens before a start takes effect, and which then answers as it likes."""

    def __init__(self, meanwhile=lambda: None, answer: Exception | None = None) -> None:
        super().__init__()
        self.meanwhile, self.answer = meanwhile, answer

    def start(self, launch: Launch) -> RunStatus:
        self.meanwhile()
        if self.answer is not None:
            raise self.answer
        return super().start(launch)


class LateAnswer(MemoryTarget):
    """A backend that starts the run, and whose answer is lost."""

    def start(self, launch: Launch) -> RunStatus:
        super().start(launch)
        raise Temporary("read timed out")


class LostRequest(MemoryTarget):
    """A backend that no start has reached yet."""

    def start(self, launch: Launch) -> RunStatus:
        raise Temporary("connect timed out")


def delivered(world: World, **queue) -> Item:
    world.queue(**queue)
    item = world.submit()
    world.deliver_all()
    return world.item(item)


def phase(world: World, item: Item) -> RunPhase:
    return world.target.status(run_of(world.item(item))).phase


def test_an_item_that_nobody_has_looked_at_is_stopped_at_once() -> None:
    world = World()
    world.queue()
    item = world.submit()
    assert control.cancel(item.id, world.ports).state is State.STOPPED
    world.deliver_all()
    assert world.target.started == []


def test_an_item_in_line_is_stopped_and_the_line_closes_up() -> None:
    world = World()
    blocker = delivered(world, max_jobs=1)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    assert control.cancel(first.id, world.ports).state is State.STOPPED
    world.end(blocker)
    observe(Changed(item_id=blocker.id), world.ports)
    assert world.item(second).state is State.RUNNING


def test_an_item_of_a_paused_queue_is_stopped() -> None:
    world = World()
    item = delivered(world, paused=True)
    assert control.cancel(item.id, world.ports).state is State.STOPPED


def test_an_item_whose_source_is_being_resolved_is_stopped_and_builds_nothing() -> None:
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    assert control.cancel(item.id, world.ports).state is State.STOPPED
    world.deliver_all()
    assert world.builder.started == []


def test_a_wish_that_waits_for_its_first_step_already_keeps_a_build_from_beginning() -> None:
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    world.store.save(item.but(desired=Desired.STOP))
    world.deliver_all()
    assert world.item(item).state is State.STOPPED
    assert world.builder.started == []


def test_an_item_that_is_being_built_is_stopped_and_its_image_starts_nothing() -> None:
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    world.deliver_all()
    assert control.cancel(item.id, world.ports).state is State.STOPPED
    image = world.builder.started[0].image
    world.builder.end(image)
    observe(Changed(image=image), world.ports)
    assert world.target.started == []


def test_another_item_that_wants_the_same_image_still_gets_it() -> None:
    world = World(instant=False)
    world.queue(max_jobs=-1)
    one, other = world.submit_code(), world.submit_code()
    world.deliver_all()
    control.cancel(one.id, world.ports)
    image = world.builder.started[0].image
    world.builder.end(image)
    observe(Changed(image=image), world.ports)
    assert (world.item(one).state, world.item(other).state) == (State.STOPPED, State.RUNNING)


def test_a_run_that_is_slow_to_start_is_stopped() -> None:
    world = World(target=MemoryTarget(slow_to_start))
    item = delivered(world)
    assert item.state is State.STARTING
    control.cancel(item.id, world.ports)
    assert phase(world, item) is RunPhase.STOPPED
    observe(Changed(item_id=item.id), world.ports)
    assert world.item(item).state is State.STOPPED


def test_a_running_item_is_stopped_and_its_slot_goes_to_the_next() -> None:
    world = World()
    item = delivered(world, max_jobs=1)
    other = world.submit()
    world.deliver_all()
    assert control.cancel(item.id, world.ports).state is State.RUNNING, "it is stopped when the backend says so"
    assert world.item(other).state is State.PENDING
    observe(Changed(item_id=item.id), world.ports)
    assert world.item(item).state is State.STOPPED
    assert world.item(other).state is State.RUNNING


def test_a_backend_that_does_not_stop_a_run_is_asked_again_when_the_stop_is_over() -> None:
    asked: list[RunRef] = []

    class Deaf(MemoryTarget):
        def stop(self, run: RunRef) -> None:
            asked.append(run)

    world = World(target=Deaf())
    item = delivered(world)
    for _ in range(3):
        control.cancel(item.id, world.ports)
    assert len(asked) == 1, "a cancel that is repeated is one wish"
    world.clock.advance(item.timeouts.stop)
    tick(world.ports)
    assert len(asked) == 2


def test_a_stop_that_failed_is_tried_again() -> None:
    class DeafOnce(MemoryTarget):
        deaf = True

        def stop(self, run: RunRef) -> None:
            if self.deaf:
                self.deaf = False
                raise Temporary("throttled")
            super().stop(run)

    world = World(target=DeafOnce())
    item = delivered(world)
    assert control.cancel(item.id, world.ports).desired is Desired.STOP
    world.clock.advance(item.timeouts.stop)
    tick(world.ports)
    assert phase(world, item) is RunPhase.STOPPED


@pytest.mark.parametrize("course", [None, finishes_at_once], ids=["stopped", "finished"])
def test_an_item_that_is_over_stays_as_it_is(course) -> None:
    world = World(target=MemoryTarget(course) if course else MemoryTarget())
    item = delivered(world)
    if course is None:
        control.cancel(item.id, world.ports)
        advance(item.id, world.ports)
    over = world.item(item)
    assert over.state.terminal
    assert control.cancel(item.id, world.ports) == over


def test_a_wish_that_was_taken_in_is_honoured_although_the_process_died_after_it() -> None:
    """In line behind another, its next look would have been days away."""
    world = World()
    first = delivered(world, paused=True)
    second = world.submit()

    def die() -> None:
        raise Crash

    calls = Calls({(1, "after"): die})
    assert not survive(lambda: control.cancel(second.id, calls.watch(world.ports)))
    assert calls.made == ["store.item", "store.save"]
    tick(world.ports)
    assert world.item(second).state is State.STOPPED
    assert world.item(first).state is State.PENDING


def test_an_item_that_does_not_exist_cannot_be_cancelled() -> None:
    world = World()
    with pytest.raises(NotFound, match="0000"):
        control.cancel("0000", world.ports)


# --- the outcome of the start is unknown
def test_a_run_whose_start_was_never_confirmed_is_found_and_stopped() -> None:
    """Design §1.9."""
    world = World(target=LateAnswer())
    item = delivered(world)
    assert item.state is State.STARTING
    control.cancel(item.id, world.ports)
    assert phase(world, item) is RunPhase.STOPPED
    observe(Changed(item_id=item.id), world.ports)
    assert world.item(item).state is State.STOPPED


def test_a_cancel_waits_out_a_start_that_may_still_take_effect() -> None:
    world = World(target=LostRequest())
    item = delivered(world)
    assert control.cancel(item.id, world.ports).state is State.STARTING
    outlast_the_start(world)
    assert world.item(item).state is State.STOPPED
    assert world.store.slots(KEY) == frozenset()


def test_a_run_that_turns_up_late_is_stopped() -> None:
    """Design §1.9: the item was cancelled, and only then did the backend act on the request."""
    world = World(target=LostRequest())
    item = delivered(world)
    control.cancel(item.id, world.ports)
    MemoryTarget.start(world.target, Launch(run_of(item), "r", "img", (), (), {}, {}, {}, "team", "p", "n"))
    world.clock.advance(MemoryTarget.start_lease)
    tick(world.ports)
    assert phase(world, item) is RunPhase.STOPPED


def outlast_the_start(world: World) -> None:
    """Its lease runs out, and then the backend is asked twice."""
    for seconds in (MemoryTarget.start_lease, ABSENCE):
        world.clock.advance(seconds)
        for item_id in world.store.due(world.clock.now()):
            advance(item_id, world.ports)


def cancelled_during_its_start(answer: Exception | None = None) -> tuple[World, Item]:
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    world.target = Meanwhile(lambda: control.cancel(item.id, world.ports), answer)
    world.deliver_all()
    return world, world.item(item)


def test_a_run_that_was_cancelled_during_its_start_is_stopped_with_the_backends_answer() -> None:
    """Not when the lease of the start is over: two minutes of a machine that nobody wants."""
    world, item = cancelled_during_its_start()
    assert phase(world, item) is RunPhase.STOPPED
    observe(Changed(item_id=item.id), world.ports)
    assert world.item(item).state is State.STOPPED


def test_an_item_that_was_cancelled_during_a_refused_start_is_stopped_at_once() -> None:
    world = World(target=BusyOnce())
    world.queue(max_jobs=1)
    item = world.submit()
    busy = world.target

    class Cancelled:
        look_again = start_lease = 60.0
        status = busy.status

        def start(self, launch: Launch) -> RunStatus:
            control.cancel(item.id, world.ports)
            return busy.start(launch)

    world.wrap_target = lambda _: Cancelled()
    world.deliver_all()
    assert world.item(item).state is State.STOPPED
    assert world.store.slots(KEY) == frozenset()


def test_a_refusal_does_not_put_a_cancelled_item_back_in_line() -> None:
    item = delivered(World()).but(desired=Desired.STOP)
    assert refused(item, Refused("no capacity"), 0.0).item.state is State.STOPPED


def test_an_item_that_was_cancelled_during_a_start_that_cannot_be_fails_at_once_with_the_reason() -> None:
    world, item = cancelled_during_its_start(Permanent("no machine type of that name"))
    assert (item.state, item.reason) == (State.FAILED, "no machine type of that name")
    assert world.store.slots(KEY) == frozenset()


def test_a_start_that_outlived_its_claim_leaves_no_run_behind() -> None:
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()

    def cancelled_and_over() -> None:
        control.cancel(item.id, world.ports)
        outlast_the_start(world)
        assert world.item(item).state is State.STOPPED

    world.target = Meanwhile(cancelled_and_over)
    world.deliver_all()
    assert phase(world, item) is RunPhase.STOPPED
    assert world.item(item).state is State.STOPPED


@pytest.mark.parametrize("told_by", ["its message, which comes again", "an event of the run"])
def test_a_run_that_turns_up_after_its_item_is_over_is_stopped_when_anyone_tells_of_it(told_by: str) -> None:
    """Its starter stood still for longer than its claim, and died when the backend had just acted."""
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    (message,) = world.bus.receive(ALL)

    def stand_still() -> None:
        control.cancel(item.id, world.ports)
        outlast_the_start(world)

    def die() -> None:
        raise Crash

    calls = Calls({(4, "before"): stand_still, (4, "after"): die})
    assert not survive(lambda: deliver(message, calls.watch(world.ports)))
    assert calls.made[4] == "target.start"
    assert (world.item(item).state, phase(world, item)) == (State.STOPPED, RunPhase.RUNNING)
    if told_by.startswith("its message"):
        world.deliver_all()
    else:
        observe(Changed(item_id=item.id), world.ports)
    assert phase(world, item) is RunPhase.STOPPED


def test_an_item_that_finished_before_it_could_be_stopped_has_finished() -> None:
    world = World()
    item = delivered(world)
    world.end(item, exit_code=0)
    assert control.cancel(item.id, world.ports).state is State.FINISHED


def test_an_item_that_is_cancelled_while_preempted_is_not_resumed() -> None:
    world = World()
    item = delivered(world)
    world.end(item, RunPhase.PREEMPTED)
    assert control.cancel(item.id, world.ports).state is State.STOPPED
    assert len(world.target.started) == 1


def test_a_run_that_turns_up_when_its_queue_is_gone_is_stopped_too() -> None:
    """Found as seed 1575714245013466: the clock asked only the backends of queues."""
    world = World()
    world.ports = replace(world.ports, resources=("local-container",))
    world.queue()
    item = world.submit()
    world.deliver_all()
    world.store.save(world.item(item).moved(State.FAILED, world.clock.now(), "given up", due=None))
    control.delete_queue(item.queue, world.ports)
    tick(world.ports)
    assert phase(world, item) is RunPhase.STOPPED


def test_a_run_that_turns_up_after_its_item_is_over_is_stopped_although_nobody_tells_of_it() -> None:
    """The tick asks each backend what lives there."""
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    world.deliver_all()
    world.store.save(world.item(item).moved(State.FAILED, world.clock.now(), "given up", due=None))
    assert phase(world, item) is RunPhase.RUNNING
    tick(world.ports)
    assert phase(world, item) is RunPhase.STOPPED


def test_a_run_of_another_deployment_on_the_same_backend_is_left_alone() -> None:
    world = World()
    world.queue(max_jobs=1)
    stranger = Launch(RunRef("elsewhere", 1), "r", "img", (), (), {}, {}, {}, "team", "p", "n")
    world.target.start(stranger)
    tick(world.ports)
    assert world.target.status(stranger.run).phase is RunPhase.RUNNING
