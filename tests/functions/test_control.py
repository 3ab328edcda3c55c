"""What people wish for items and queues: retry, priority, pause, drain, apply, delete. Cancel is in test_cancel.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.functions.world import LAUNCH, World

from slipway.adapters.memory.target import MemoryTarget, finishes_at_once
from slipway.errors import Invalid, NotFound, Permanent, Problem
from slipway.functions import control
from slipway.functions.observe import observe
from slipway.model import Changed, Item, Launch, Queue, QueueKey, RunPhase, RunStatus, State, Topic
from slipway.ports import Target

KEY = QueueKey("team", "gpu")


def failed(world: World, item: Item) -> Item:
    world.deliver_all()
    world.end(item, RunPhase.FAILED, reason="out of memory")
    observe(Changed(item_id=item.id), world.ports)
    return world.item(item)


def stored(world: World) -> Queue:
    queue = world.store.queue(KEY)
    assert queue is not None
    return queue


# --- retry
def test_a_retry_is_a_new_item_of_the_same_submission_that_names_the_old_one() -> None:
    world = World()
    world.queue()
    item = failed(world, world.submit(name="first", overrides={"args": ["--lr", "0.1"], "run_config": {"lr": 0.1}}))
    again = control.retry(item.id, world.ports)
    world.deliver_all()
    assert (again.retry_of, world.item(again).state) == (item.id, State.RUNNING)
    assert again.run_id != item.run_id
    assert replace(again.submission, run_id=None) == replace(item.submission, run_id=None)
    assert world.item(item) == item


def test_a_retry_of_a_submission_with_an_idempotency_key_is_not_the_old_item() -> None:
    world = World()
    world.queue()
    item = failed(world, world.submit(idempotency_key="k", run_id="chosen"))
    again = control.retry(item.id, world.ports)
    assert (again.id != item.id, again.run_id != item.run_id) == (True, True)
    assert world.submit(idempotency_key="k").id == item.id


def test_a_retry_is_held_against_the_queue_as_it_is_now() -> None:
    world = World()
    queue = world.queue(config={"size": "s"})
    item = failed(world, world.submit())
    control.apply_queue(replace(queue, config={"size": "l"}), world.ports)
    assert control.retry(item.id, world.ports).resource_args == {"size": "l"}
    assert world.item(item).resource_args == {"size": "s"}


def test_a_retry_of_a_source_keeps_the_branch_and_resolves_it_anew() -> None:
    world = World()
    world.queue()
    item = failed(world, world.submit_code())
    again = control.retry(item.id, world.ports)
    assert (again.image, again.revision) == (None, None)
    world.deliver_all()
    assert world.item(again).state is State.RUNNING
    assert len(world.builder.started) == 1, "the image is there"


def test_an_item_that_is_not_over_cannot_be_retried() -> None:
    world = World()
    world.queue()
    item = world.submit()
    with pytest.raises(Invalid, match="slipway cancel"):
        control.retry(item.id, world.ports)
    assert [each.id for each in world.store.items()] == [item.id]


def test_a_retry_of_nothing_is_not_found() -> None:
    with pytest.raises(NotFound, match="slipway ps"):
        control.retry("0000", World().ports)


def test_a_retry_into_a_queue_that_is_gone_is_refused() -> None:
    world = World()
    world.queue()
    item = failed(world, world.submit())
    control.delete_queue(KEY, world.ports)
    with pytest.raises(Invalid, match="no such queue"):
        control.retry(item.id, world.ports)


# --- priority
def test_a_priority_is_refused_where_the_queue_has_none() -> None:
    world = World()
    world.queue()
    item = world.submit()
    with pytest.raises(Invalid, match="prioritization: true"):
        control.reprioritise(item.id, 0, world.ports)


def test_a_priority_of_an_item_that_does_not_wait_is_refused() -> None:
    world = World(target=MemoryTarget(finishes_at_once))
    world.queue(prioritization=True)
    item = world.submit(priority="low")
    world.deliver_all()
    over = world.item(item)
    with pytest.raises(Invalid, match="it is finished"):
        control.reprioritise(item.id, 0, world.ports)
    assert world.item(item) == over


def test_a_priority_of_nothing_is_not_found() -> None:
    with pytest.raises(NotFound):
        control.reprioritise("0000", 0, World().ports)


def test_a_priority_lowered_lets_others_go_first() -> None:
    world = World()
    world.queue(max_jobs=1, prioritization=True)
    blocker, first, second = (world.submit() for _ in range(3))
    world.deliver_all()
    control.reprioritise(first.id, 3, world.ports)
    world.end(blocker)
    observe(Changed(item_id=blocker.id), world.ports)
    assert (world.item(first).state, world.item(second).state) == (State.PENDING, State.RUNNING)


# --- pause
def test_what_runs_goes_on_while_the_queue_is_paused() -> None:
    world = World()
    world.queue(max_jobs=1)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    control.pause(KEY, world.ports)
    assert world.item(first).state is State.RUNNING
    world.end(first)
    observe(Changed(item_id=first.id), world.ports)
    assert (world.item(first).state, world.item(second).state) == (State.FINISHED, State.PENDING)
    control.resume(KEY, world.ports)
    assert world.item(second).state is State.RUNNING


def test_a_source_is_built_while_the_queue_is_paused() -> None:
    world = World()
    world.queue(paused=True)
    item = world.submit_code()
    world.deliver_all()
    assert world.item(item).waiting
    assert len(world.builder.started) == 1


def test_a_pause_that_is_repeated_writes_nothing() -> None:
    world = World()
    world.queue()
    first = control.pause(KEY, world.ports)
    assert control.pause(KEY, world.ports).version == first.version


def test_a_queue_that_does_not_exist_is_named_with_the_nearest() -> None:
    world = World()
    world.queue("training")
    with pytest.raises(NotFound, match="Did you mean 'training'"):
        control.pause(QueueKey("team", "trainin"), world.ports)


# --- drain
def test_a_draining_queue_takes_nothing_more_and_ends_what_it_has() -> None:
    world = World()
    world.queue(max_jobs=1)
    first, second = world.submit(), world.submit_code()
    world.deliver_all()
    control.drain(KEY, world.ports)
    with pytest.raises(Invalid, match=r"queue: is being drained.*slipway queue resume team/gpu"):
        world.submit()
    world.end(first)
    observe(Changed(item_id=first.id), world.ports)
    world.end(second)
    observe(Changed(item_id=second.id), world.ports)
    assert (world.item(first).state, world.item(second).state) == (State.FINISHED, State.FINISHED)
    control.resume(KEY, world.ports)
    assert world.submit().state is State.PENDING


def test_a_known_idempotency_key_gives_the_first_item_whatever_became_of_its_queue() -> None:
    world = World()
    world.queue()
    first = world.submit(idempotency_key="k")
    control.drain(KEY, world.ports)
    assert world.submit(idempotency_key="k") == first
    with pytest.raises(Invalid, match="is being drained"):
        world.submit(idempotency_key="another")
    world.deliver_all()
    world.end(first)
    observe(Changed(item_id=first.id), world.ports)
    control.delete_queue(KEY, world.ports)
    assert world.submit(idempotency_key="k") == world.item(first)
    assert [item.id for item in world.store.items()] == [first.id]


def test_a_message_put_on_the_bus_of_a_draining_queue_is_a_dead_letter_that_says_so() -> None:
    world = World()
    world.queue(draining=True)
    world.bus.send(Topic.SUBMIT, json.dumps({**LAUNCH, "docker": {"docker_image": "img"}}))
    world.deliver_all()
    (letter,) = world.bus.dead_letters()
    assert "is being drained" in letter.reason


# --- apply
def test_an_apply_does_not_let_go_on_what_someone_paused() -> None:
    world = World()
    queue = world.queue()
    control.pause(KEY, world.ports)
    control.apply_queue(replace(queue, max_jobs=7, version=0), world.ports)
    assert (stored(world).paused, stored(world).max_jobs) == (True, 7)


def test_an_apply_makes_a_queue_that_is_not_there() -> None:
    world = World()
    queue, changed = control.apply_queue(Queue("team", "gpu", "local-container", max_jobs=3), world.ports)
    assert changed
    assert stored(world) == queue


def test_items_keep_what_they_copied_from_their_queue() -> None:
    world = World()
    queue = world.queue(max_jobs=1, config={"size": "s"})
    blocker, waiting = world.submit(), world.submit()
    world.deliver_all()
    control.apply_queue(replace(queue, config={"size": "l"}), world.ports)
    world.end(blocker)
    observe(Changed(item_id=blocker.id), world.ports)
    assert world.item(waiting).state is State.RUNNING
    assert [launch.resource_args for launch in world.target.started] == [{"size": "s"}] * 2


def test_a_lowered_cap_stops_nothing_and_lets_nobody_in_until_it_fits() -> None:
    world = World()
    queue = world.queue(max_jobs=3)
    items = [world.submit() for _ in range(4)]
    world.deliver_all()
    control.apply_queue(replace(queue, max_jobs=1), world.ports)
    assert len(world.store.slots(KEY)) == 3
    for item in items[:2]:
        world.end(item)
        observe(Changed(item_id=item.id), world.ports)
    assert world.item(items[3]).state is State.PENDING
    world.end(items[2])
    observe(Changed(item_id=items[2].id), world.ports)
    assert world.item(items[3]).state is State.RUNNING


def test_a_cap_that_is_taken_away_lets_everybody_in() -> None:
    world = World()
    queue = world.queue(max_jobs=1)
    items = [world.submit() for _ in range(4)]
    world.deliver_all()
    control.apply_queue(replace(queue, max_jobs=-1), world.ports)
    assert {world.item(item).state for item in items} == {State.RUNNING}
    for item in items:
        world.end(item)
        observe(Changed(item_id=item.id), world.ports)
    assert world.store.slots(KEY) == frozenset()


def test_a_cap_that_is_set_counts_only_what_starts_from_then_on() -> None:
    world = World()
    queue = world.queue(max_jobs=-1)
    before = [world.submit() for _ in range(2)]
    world.deliver_all()
    control.apply_queue(replace(queue, max_jobs=1), world.ports)
    after = [world.submit() for _ in range(2)]
    world.deliver_all()
    assert [world.item(item).state for item in (*before, *after)] == [State.RUNNING] * 3 + [State.PENDING]
    assert world.store.slots(KEY) == {f"{after[0].id}.1"}


def test_a_queue_of_no_slots_lets_nobody_in() -> None:
    world = World()
    world.queue(max_jobs=0)
    item = world.submit()
    world.deliver_all()
    assert world.item(item).state is State.PENDING


# --- delete
def test_an_item_whose_queue_was_deleted_under_it_fails_and_says_so() -> None:
    world = World()
    world.queue(paused=True)
    item = world.submit()
    world.deliver_all()
    world.store.delete_queue(KEY)
    observe(Changed(item_id=item.id), world.ports)
    assert world.item(item).state is State.FAILED
    assert "was deleted" in world.item(item).reason


def test_a_run_outlives_its_queue() -> None:
    world = World()
    world.queue(max_jobs=1)
    item = world.submit()
    world.deliver_all()
    world.store.delete_queue(KEY)
    world.end(item)
    observe(Changed(item_id=item.id), world.ports)
    assert world.item(item).state is State.FINISHED


def test_a_start_that_cannot_be_lets_the_next_in_at_once() -> None:
    class NotTheFirst(MemoryTarget):
        tried = 0

        def start(self, launch: Launch) -> RunStatus:
            self.tried += 1
            if self.tried == 1:
                raise Permanent("no machine type of that name")
            return super().start(launch)

    world = World(target=NotTheFirst())
    world.queue(max_jobs=1)
    first, second = world.submit(), world.submit()
    world.deliver_all()
    assert (world.item(first).state, world.item(second).state) == (State.FAILED, State.RUNNING)


def test_a_queue_for_what_this_deployment_does_not_have_is_refused() -> None:
    world = World()

    def nowhere(resource: str) -> Target:
        raise Invalid(Problem("resource", "this deployment has none of that name", resource))

    with pytest.raises(Invalid, match="this deployment has none"):
        control.apply_queue(Queue("team", "k8s", "kubernetes"), replace(world.ports, targets=nowhere))
    assert world.store.queues() == []
