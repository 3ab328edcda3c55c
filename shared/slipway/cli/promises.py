"""The promises of docs/guarantees.md that can be checked on a deployment while it works, each breach with its cure.

Everything here looks twice: the world is read in one moment and the items in the next, and what changed in between is
no breach. What is still wrong at the second look is.
"""

from __future__ import annotations

from collections.abc import Iterator

from slipway.cli.finding import Finding, Verdict, some
from slipway.errors import SlipwayError
from slipway.model import Item, QueueKey, RunPhase, RunRef, State, Topic
from slipway.ports import Ports, Target

OVERDUE = 120.0
"""Seconds after which an overdue item means that no clock ticks, or that its backend does not do as it is told."""
PAGE = 200
BUILDS = 1000
"""The latest builds, which are looked at."""
_ALIVE = (RunPhase.STARTING, RunPhase.RUNNING)
_LAUNCHED = (State.BUILDING, State.STARTING, State.RUNNING)


def promises(ports: Ports) -> Iterator[Finding]:
    """One finding of each kind, and one more of each backend that cannot be asked."""
    yield _overdue(ports)
    yield _late(ports)
    yield _slots(ports)
    yield from _builds(ports)
    yield from _runs(ports)


def past_deadline(ports: Ports) -> list[Item]:
    """Items whose state should have been over for some time. A look at every item that is on its way, and at those
    in line that are due: one in line is due at its deadline at the latest."""
    then = ports.clock.now() - OVERDUE
    in_line = [item for item_id in ports.store.due(then, PAGE) if (item := ports.store.item(item_id)) is not None]
    found = {item.id: item for item in [*in_line, *_launched(ports)] if _late_by(item, then)}
    return [found[item_id] for item_id in sorted(found)]


def stray_slots(ports: Ports) -> list[tuple[QueueKey, str]]:
    """Slots held by an item that is over, by an attempt that is over, or by nobody: none of them can ever need it."""
    suspects = [(key, holder) for key, holder in ports.store.held() if not _may_hold(holder, ports)]
    return [(key, holder) for key, holder in suspects if holder in ports.store.slots(key)]


def free_stray_slots(ports: Ports) -> list[str]:
    """Gives them back, and has the head of each line looked at. What they were."""
    stray = stray_slots(ports)
    for key, holder in stray:
        ports.store.free(key, holder)
        ports.bus.send(Topic.ADVANCE, str(key))
    return [f"{holder} of {key}" for key, holder in stray]


def unwanted_builds(ports: Ports) -> list[str]:
    """Images that are being built, and no item waits for."""
    found = []
    for build in ports.store.builds(BUILDS):
        if build.lease is not None or ports.store.wanting(build.image):
            continue
        running = ports.builders(build.builder, None).status(build).phase.alive
        # Asked again: an item may have joined it meanwhile.
        if running and not ports.store.wanting(build.image):
            found.append(build.image)
    return found


def orphans(target: Target, ports: Ports) -> list[RunRef]:
    """Runs that live although their item, or their attempt of it, is over. One whose item is not here at all is not
    counted: it may be another deployment's."""
    suspects = [run for run in target.live() if _given_up(run, ports)]
    return [run for run in suspects if target.status(run).phase in _ALIVE]


def _overdue(ports: Ports) -> Finding:
    late = ports.store.due(ports.clock.now() - OVERDUE, PAGE)
    if not late:
        return Finding("items", Verdict.OK, "none is overdue")
    text = f"overdue for more than {OVERDUE:g} s: {some(late)}"
    return Finding("items", Verdict.BROKEN, text, "Start `slipway up`; its clock looks at them.")


def _late(ports: Ports) -> Finding:
    late = past_deadline(ports)
    if not late:
        return Finding("deadlines", Verdict.OK, "none is past its deadline")
    text = f"past the deadline of its state: {some([f'{item.id} ({item.state})' for item in late])}"
    cure = "Start `slipway up` if it is not up. If it is, `slipway explain ITEM` says which backend does not answer."
    return Finding("deadlines", Verdict.BROKEN, text, cure)


def _slots(ports: Ports) -> Finding:
    stray = stray_slots(ports)
    if not stray:
        return Finding("slots", Verdict.OK, f"{len(ports.store.held())} held, each by an item that needs it")
    text = f"held by what is over: {some([f'{holder} of {key}' for key, holder in stray])}"
    return Finding("slots", Verdict.BROKEN, text, "`slipway doctor --free-slots` gives them back; please report it.")


def _builds(ports: Ports) -> Iterator[Finding]:
    try:
        images = unwanted_builds(ports)
    except SlipwayError as error:
        cure = "Mend what the message names, and run `slipway doctor` again."
        yield Finding("builds", Verdict.WARNING, f"cannot be looked at: {error.message}", cure)
        return
    if images:
        cure = "Let it end: its image serves the next submission of that source."
        yield Finding("builds", Verdict.WARNING, f"nobody waits for {some(images)}", cure)
    else:
        yield Finding("builds", Verdict.OK, "each that runs is waited for")


def _runs(ports: Ports) -> Iterator[Finding]:
    strays: list[RunRef] = []
    asked_all = True
    for resource in sorted({queue.resource for queue in ports.store.queues()}):
        try:
            strays += orphans(ports.targets(resource), ports)
        except SlipwayError as error:
            asked_all = False
            cure = "Mend what the message names, and run `slipway doctor` again."
            yield Finding("runs", Verdict.WARNING, f"{resource} cannot be asked: {error.message}", cure)
    if strays:
        text = f"alive, and nobody wants them: {some([run.name for run in strays])}"
        yield Finding("runs", Verdict.BROKEN, text, "Start `slipway up`; its clock stops them.")
    elif asked_all:
        yield Finding("runs", Verdict.OK, "each that lives belongs to an item")


def _launched(ports: Ports) -> Iterator[Item]:
    before = None
    while page := ports.store.items(states=_LAUNCHED, limit=PAGE, before=before):
        yield from page
        before = page[-1].id


def _late_by(item: Item, then: float) -> bool:
    return not item.state.terminal and item.deadline is not None and item.deadline <= then


def _may_hold(holder: str, ports: Ports) -> bool:
    item_id, _, attempt = holder.rpartition(".")
    item = ports.store.item(item_id)
    return item is not None and not item.state.terminal and attempt == str(item.attempt)


def _given_up(run: RunRef, ports: Ports) -> bool:
    item = ports.store.item(run.item_id)
    return item is not None and (item.state.terminal or item.attempt != run.attempt)
