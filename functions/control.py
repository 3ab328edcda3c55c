"""What people wish for items and queues: cancel, retry, change priority, apply, pause, drain, resume, delete."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from slipway.admission import admit
from slipway.errors import Invalid, NotFound, Problem, Stale, Temporary, nearest
from slipway.functions.advance import advance
from slipway.functions.submit import submit
from slipway.model import Desired, Item, Queue, QueueKey, State, Topic
from slipway.ports import Ports
from slipway.spec import submission_document

LIVE = (State.PENDING, State.BUILDING, State.STARTING, State.RUNNING)


def cancel(item_id: str, ports: Ports) -> Item:
    """Wishes the item stopped, and takes the first step towards it. An item that is over stays as it is.

    Raises NotFound.
    """
    # Due at once, so that the tick honours a wish whose first step is never taken.
    now = ports.clock.now()
    wished = _change(
        item_id,
        ports,
        lambda item: item if item.desired is Desired.STOP else item.but(desired=Desired.STOP, due=now),
    )
    try:
        return wished if wished.state.terminal else advance(item_id, ports) or wished
    except Temporary:
        # The wish is written down; its first step is taken as soon as the backend can be reached.
        ports.bus.send(Topic.ADVANCE, item_id)
        return wished


def reprioritise(item_id: str, priority: int, ports: Ports) -> Item:
    """Changes the priority (0 first, 3 last) of an item that has not started, in a queue with prioritization.

    Raises NotFound, Invalid.
    """
    item = existing(item_id, ports)
    if item.state not in (State.PENDING, State.BUILDING):
        raise Invalid(Problem("item", f"it is {item.state}: a priority is for items that wait", item_id))
    queue = ports.store.queue(item.queue)
    if queue is None or not queue.prioritization:
        raise Invalid(
            Problem(
                "priority",
                f"queue '{item.queue.name}' is first in, first out",
                priority,
                "Set `prioritization: true` in the queue file and apply it.",
            )
        )
    changed = _change(item_id, ports, lambda each: each.but(priority=priority))
    with suppress(Temporary):  # the tick looks at every line too
        admit(changed.queue, ports)  # another may be first now
    return existing(item_id, ports)


def retry(item_id: str, ports: Ports) -> Item:
    """Submits again what an item that is over was submitted as: a new item, held against the queue as it is now.

    Raises NotFound, and Invalid while the item is not over.
    """
    item = existing(item_id, ports)
    if not item.state.terminal:
        rule = f"it is {item.state}: only an item that is over can be tried again"
        raise Invalid(Problem("item", rule, item_id, f"`slipway cancel {item_id}` first."))
    submission = replace(item.submission, run_id=None, idempotency_key=None)
    return submit(submission_document(submission), ports, retry_of=item.id)


def apply_queue(queue: Queue, ports: Ports) -> tuple[Queue, bool]:
    """Creates or replaces the queue of that entity and name, and whether anything changed. Items keep what they copied;
    a raised cap lets the head of the line in at once. A pause and a drain outlive an apply.

    Raises Invalid for a resource or a builder that this deployment does not have, and for another resource than the
    queue has."""
    ports.targets(queue.resource)
    if queue.builder.get("type"):
        ports.builders(str(queue.builder["type"]), queue.builder.get("destination"))
    while True:
        current = ports.store.queue(queue.key)
        wanted = replace(queue, version=0)
        if current is not None:
            if current.resource != queue.resource:
                rule = f"queue '{queue.key}' is for {current.resource}; a queue does not change its resource"
                raise Invalid(Problem("resource", rule, queue.resource, "Use another name, or delete the queue first."))
            wanted = replace(
                queue,
                version=current.version,
                paused=queue.paused or current.paused,
                draining=queue.draining or current.draining,
            )
            if wanted == current:
                return current, False
        try:
            saved = ports.store.save_queue(wanted)
        except Stale:
            continue
        admit(queue.key, ports)
        return saved, True


def pause(key: QueueKey, ports: Ports) -> Queue:
    """Nothing more starts; what runs goes on, and submissions are taken. Raises NotFound."""
    return _change_queue(key, ports, lambda queue: replace(queue, paused=True))


def drain(key: QueueKey, ports: Ports) -> Queue:
    """No more submissions are taken; what is in line, is built or runs goes on to its end. Raises NotFound."""
    return _change_queue(key, ports, lambda queue: replace(queue, draining=True))


def resume(key: QueueKey, ports: Ports) -> Queue:
    """Ends a pause and a drain; the head of the line starts at once. Raises NotFound."""
    resumed = _change_queue(key, ports, lambda queue: replace(queue, paused=False, draining=False))
    admit(key, ports)
    return resumed


def delete_queue(key: QueueKey, ports: Ports) -> None:
    """Raises NotFound, and Invalid while the queue has items that are not over."""
    existing_queue(key, ports)
    live = ports.store.items(entity=key.entity, queue=key.name, states=LIVE, limit=1)
    if live:
        fix = "Cancel them first: `slipway cancel ITEM`; `slipway ps` lists them."
        raise Invalid(Problem("queue", "it has items that are not over", f"{key} ({live[0].id} …)", fix))
    ports.store.delete_queue(key)


def existing(item_id: str, ports: Ports) -> Item:
    """Raises NotFound."""
    item = ports.store.item(item_id)
    if item is None:
        raise NotFound(f"there is no item '{item_id}'; `slipway ps --all` lists what there is")
    return item


def existing_queue(key: QueueKey, ports: Ports) -> Queue:
    """Raises NotFound, naming the nearest queue of the entity."""
    queue = ports.store.queue(key)
    if queue is None:
        known = [each.name for each in ports.store.queues(key.entity)]
        raise NotFound(f"entity '{key.entity}' has no queue '{key.name}'. {nearest(key.name, known)}".strip())
    return queue


def _change_queue(key: QueueKey, ports: Ports, change: Callable[[Queue], Queue]) -> Queue:
    """Applies a change to a queue, again and again until no one else's write comes between."""
    while True:
        queue = existing_queue(key, ports)
        changed = change(queue)
        if changed == queue:
            return queue
        try:
            return ports.store.save_queue(changed)
        except Stale:
            continue


def _change(item_id: str, ports: Ports, change: Callable[[Item], Item]) -> Item:
    """Applies a change to a live item, again and again until no one else's write comes between."""
    while True:
        item = existing(item_id, ports)
        changed = change(item)
        if item.state.terminal or changed == item:
            return item
        try:
            return ports.store.save(changed)
        except Stale:
            continue
