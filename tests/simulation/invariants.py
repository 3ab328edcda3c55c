"""What must hold when faults have stopped and the world is quiet. Each function names what is not so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.simulation.character import MARK
from tests.simulation.world import CANARY, World

from slipway.machine import TRANSITIONS
from slipway.model import Desired, State, Topic


def every_item_is_over(world: World) -> Iterator[str]:
    for item in world.ledger.items.values():
        if not item.state.terminal:
            yield f"{item.id} is stuck in {item.state}: {item.reason}"


def every_timeline_is_a_path(world: World) -> Iterator[str]:
    for item in world.ledger.items.values():
        states = [moment.state for moment in item.timeline]
        if states[0] is not State.PENDING or states[-1] is not item.state:
            yield f"the timeline of {item.id} begins with {states[0]} and ends with {states[-1]}; it is {item.state}"
        for a, b in pairwise(states):
            if b not in TRANSITIONS[a]:
                yield f"the timeline of {item.id} goes from {a} to {b}"


def what_was_accepted_is_there(world: World) -> Iterator[str]:
    names = Counter(item.submission.name for item in world.ledger.items.values() if item.retry_of is None)
    letters = world.bus.dead_letters() if world.ledger.closed else ()
    keys = Counter(item.submission.idempotency_key for item in world.ledger.items.values())
    for item_id in sorted(world.people.accepted - world.ledger.items.keys()):
        yield f"{item_id} was accepted, and is not there"
    for name in sorted(world.people.sent):
        # A queue may have been deleted or drained meanwhile, and then the message is a dead letter, and visible.
        refused = names[name] == 0 and any(f'"name": "{name}"' in letter.body for letter in letters)
        if names[name] != 1 and not refused:
            yield f"the message with {name} became {names[name]} items"
    for key, times in keys.items():
        if key is not None and times > 1:
            yield f"{times} items have the key {key}"


def the_store_agrees_with_the_ledger(world: World) -> Iterator[str]:
    for item_id, item in world.ledger.items.items():
        if world.store.item(item_id) != item:
            yield f"{item_id} is not stored as it was saved"


def no_job_is_an_orphan(world: World) -> Iterator[str]:
    for job in world.vendor.jobs:
        item = world.ledger.items.get(job.run.item_id)
        if job.alive and (item is None or item.state.terminal or item.attempt != job.run.attempt):
            cancelled = ", although it was cancelled" if item is not None and item.desired is Desired.STOP else ""
            yield f"{job.run.name} lives on{cancelled}; its item is {item and item.state}"


def no_slot_is_held(world: World) -> Iterator[str]:
    for queue in world.character.queues:
        if held := sorted(world.store.slots(queue.key)):
            yield f"slots of {queue.key} are held by {', '.join(held)}"


def nothing_is_left_to_do(world: World) -> Iterator[str]:
    if not world.bus.empty():
        yield "there are messages that never come to an end"
    if due := world.store.due(float("inf")):
        yield f"{', '.join(due)} are due although they are over"
    if crowded := world.store.crowded():
        yield f"there is a line at {', '.join(map(str, crowded))}, of items that are over"


def nothing_secret_is_written_down(world: World) -> Iterator[str]:
    texts = world.store.texts()
    sent = [f"{topic} {body}" for topic, body in world.bus.sent]
    letters = [f"{letter.body} {letter.reason}" for letter in world.bus.dead_letters()]
    for text in (*texts, *sent, *letters, *world.log.lines):
        if CANARY in text:
            yield f"a secret is in {text[:80]}"
    reasons = [moment.reason for item in world.ledger.items.values() for moment in item.timeline]
    ids = [body for topic, body in world.bus.sent if topic is not Topic.SUBMIT]
    for text in (*world.log.lines, *ids, *reasons, *(letter.reason for letter in world.bus.dead_letters())):
        if MARK in text:
            yield f"an environment value is in {text[:80]}"


def nothing_failed_in_a_way_nobody_foresaw(world: World) -> Iterator[str]:
    yield from world.log.bugs


AT_THE_END: tuple[Callable[[World], Iterator[str]], ...] = (
    every_item_is_over,
    every_timeline_is_a_path,
    what_was_accepted_is_there,
    the_store_agrees_with_the_ledger,
    no_job_is_an_orphan,
    no_slot_is_held,
    nothing_is_left_to_do,
    nothing_secret_is_written_down,
    nothing_failed_in_a_way_nobody_foresaw,
)
