"""One step: look at the world, decide, claim with a guarded write, act once.

Every trigger (a submission, a build event, a run event, a cancel, the clock) comes through here, and says
nothing but "look again". So duplicate, late, lost and reordered events are the normal case.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from slipway.errors import NoSlot, Permanent, Refused, SlipwayError, Stale, Temporary
from slipway.launch import launch
from slipway.machine import Decision, Facts, decide, refused, rejected
from slipway.model import Act, BuildPhase, BuildStatus, Item, Presence, RunRef, State, Topic
from slipway.ports import Builder, Ports


def step(item_id: str, ports: Ports) -> Item | None:
    """Takes the item one step on. Returns it as it is now; None when there is no such item.

    Raises what the look or the act raised when nothing could be decided: the trigger is to be delivered again.
    """
    item = ports.store.item(item_id)
    if item is None:
        return None
    if item.state.terminal:
        _stop_latecomer(item, ports)
        return item
    return take_step(item, ports)


def take_step(item: Item, ports: Ports) -> Item:
    """As `step`, of an item just loaded. Returns the very same object when there was nothing to do."""
    facts = look(item, ports)
    try:
        act, after = _claim(item, facts, ports)
    except Stale as lost:
        now = _winner(lost, item)
        # Whoever won may have looked before what this trigger tells of, or only changed a priority: look again.
        return now if now is item or now.state.terminal else take_step(now, ports)
    if after is item and facts.trouble is not None:
        raise facts.trouble
    return after if after is item else _act(act, after, ports)


def look(item: Item, ports: Ports) -> Facts:
    """Asks the world what `decide` needs to know in the item's state."""
    now = ports.clock.now()
    try:
        if item.state in (State.PENDING, State.BUILDING):
            return _look_before_start(item, now, ports)
        target = ports.targets(item.resource)
        run = target.status(run_of(item))
        return Facts(now, run=run, look_again=target.look_again, start_lease=target.start_lease)
    except SlipwayError as trouble:
        return Facts(now, trouble=trouble)


def run_of(item: Item) -> RunRef:
    return RunRef(item.id, item.attempt, item.backend_id)


def builder_type(item: Item, ports: Ports) -> str:
    """The one its queue names, else the default for its resource (S8)."""
    return str(item.builder.get("type") or ports.default_builder(item.resource))


def builder_of(item: Item, ports: Ports) -> Builder:
    """The builder for it, leaving images where its queue wants them (S11)."""
    destination = item.builder.get("destination")
    return ports.builders(builder_type(item, ports), None if destination is None else str(destination))


def _look_before_start(item: Item, now: float, ports: Ports) -> Facts:
    image, build = None, None
    if item.built and item.image is not None:
        image = builder_of(item, ports).registry().presence(item.image)
        if image is Presence.ABSENT and item.state is State.BUILDING:
            build = _build_status(item, item.image, now, ports)
    queue = ports.store.queue(item.queue)
    first = True
    if queue is not None and queue.capped and item.image is not None:
        head = ports.store.head(item.queue)
        first = head is None or (item.priority, item.id) <= (head.priority, head.id)
    lease = ports.targets(item.resource).start_lease
    return Facts(now, queue=queue, first=first, image=image, build=build, start_lease=lease)


def _build_status(item: Item, image: str, now: float, ports: Ports) -> BuildStatus:
    record = ports.store.build(image)
    if record is None:
        return BuildStatus(BuildPhase.ABSENT)
    status = builder_of(item, ports).status(record)
    if status.phase is BuildPhase.ABSENT and record.lease is not None and now < record.lease.until:
        return BuildStatus(BuildPhase.RUNNING, reason="being started")
    return status


def _claim(item: Item, facts: Facts, ports: Ports) -> tuple[Act, Item]:
    """The right to act, and the item as it was saved; the very same item where there is nothing to write."""
    decision = decide(item, facts)
    if decision.item is item:
        return Act.NOTHING, item
    try:
        return decision.act, ports.store.save(decision.item, decision.slot)
    except NoSlot:
        return _claim(item, replace(facts, full=True), ports)


def _act(act: Act, item: Item, ports: Ports) -> Item:
    match act:
        case Act.PREPARE:
            ports.bus.send(Topic.BUILD, item.id)
        case Act.START:
            return _start(item, ports)
        case Act.STOP:
            ports.targets(item.resource).stop(run_of(item))
        case Act.NOTHING:
            pass
    return item


def _start(item: Item, ports: Ports) -> Item:
    """What the backend answers is itself a fact. A Temporary leaves the lease: the outcome is unknown, look first."""
    try:
        target = ports.targets(item.resource)
        run = target.start(launch(item, base_url=ports.base_url))
    except Refused as refusal:
        return _note(partial(refused, refusal=refusal, now=ports.clock.now()), item, ports)
    except Temporary as trouble:
        reason = f"the outcome of its start is unknown: {trouble.message}"
        _note(lambda item: Decision(item.but(reason=reason)), item, ports)
        raise
    except Permanent as error:
        return _note(partial(rejected, reason=error.message, now=ports.clock.now()), item, ports)
    facts = Facts(ports.clock.now(), run=run, look_again=target.look_again)
    return _note(partial(decide, facts=facts), item, ports)


def _note(outcome: Callable[[Item], Decision], item: Item, ports: Ports) -> Item:
    """Writes down the outcome of a start, which holds as long as its claim does: a wish that came meanwhile is joined
    with it. Whoever lost the claim and left a run that nobody wants stops it."""
    while True:
        decision = outcome(item)
        if decision.item is item:
            return item
        try:
            saved = ports.store.save(decision.item, decision.slot)
        except Stale as lost:
            now = _winner(lost, item)
            if now.state.terminal or now.attempt != item.attempt:
                unwanted = RunRef(item.id, item.attempt, decision.item.backend_id or item.backend_id)
                ports.targets(item.resource).stop(unwanted)
            if now.version == item.version or now.lease != item.lease:
                return now
            item = now
        else:
            return _act(decision.act, saved, ports)


def _stop_latecomer(item: Item, ports: Ports) -> None:
    """An item that was given up while it was starting may have a run after all: its starter stood still for longer
    than its lease, or died with the answer. The message that comes again, or an event of that run, ends it."""
    if item.state is State.FINISHED or len(item.timeline) < 2 or item.timeline[-2].state is not State.STARTING:
        return
    with suppress(Permanent):  # No such resource any more, say: nothing is left to try, and the line must go on.
        ports.targets(item.resource).stop(run_of(item))


def _winner(lost: Stale, item: Item) -> Item:
    return lost.current if isinstance(lost.current, Item) else item
