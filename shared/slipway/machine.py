"""The state machine: what to do next about an item, given the facts. Pure and total.

    pending ──► building ──► starting ──► running ──► finished | failed | stopped
       │ ▲          │          │  ▲           │
       │ └──────────┘ no slot  │  │           └─► preempted ─► pending (attempt + 1, same run id)
       └───────────────────────┼──┘ image there, slot free
                  refused ◄────┘ (quota, capacity: back to pending, nothing was started)

An item is built before it is admitted: a source is resolved and its image built while the item waits for a
slot, so that a slot, which stands for a machine, is never held by a build. Every non-terminal state has a
`deadline` (when it is over) and a `due` (when the tick must look again).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.errors import Permanent, Refused, SlipwayError, Temporary
from slipway.model import (
    Act,
    BuildPhase,
    BuildStatus,
    Desired,
    Item,
    Lease,
    Presence,
    Queue,
    RunPhase,
    RunStatus,
    Slot,
    Stage,
    State,
)

PREPARE_LEASE = 300.0
"""Seconds a `build` function has to fetch a source and start its build before another may try."""
START_LEASE = 120.0
"""Seconds a call to start a run may take before another may look and try. Covers a slow pull."""
LOOK_AT_BUILD = 60.0
"""Seconds between looks at a build that no event has told of."""
MAX_RESUMES = 5
"""How often a preempted run is resumed; W&B Launch's own number."""

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.BUILDING, State.STARTING, State.FAILED, State.STOPPED}),
    State.BUILDING: frozenset({State.PENDING, State.STARTING, State.FAILED, State.STOPPED}),
    State.STARTING: frozenset(
        {State.PENDING, State.RUNNING, State.PREEMPTED, State.FINISHED, State.FAILED, State.STOPPED}
    ),
    State.RUNNING: frozenset({State.PREEMPTED, State.FINISHED, State.FAILED, State.STOPPED}),
    State.PREEMPTED: frozenset({State.PENDING}),
    State.FINISHED: frozenset(),
    State.FAILED: frozenset(),
    State.STOPPED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look at the world found. A field is None where the item's state made it unnecessary to ask."""

    now: float
    queue: Queue | None = None
    first: bool = True
    """Nobody waits for a slot ahead of this item."""
    full: bool = False
    """The store refused a slot."""
    image: Presence | None = None
    build: BuildStatus | None = None
    run: RunStatus | None = None
    look_again: float = 60.0
    """Seconds after which this target wants a running item looked at again."""
    trouble: SlipwayError | None = None
    """The look itself failed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The item as it shall be saved (`is` the one decided on when nothing changes), and the act that follows."""

    item: Item
    act: Act = Act.NOTHING
    slot: Slot = Slot.KEEP


def decide(item: Item, facts: Facts) -> Decision:
    """What to do about `item`. A terminal item is never decided again."""
    match item.state:
        case State.PENDING:
            return _pending(item, facts)
        case State.BUILDING:
            return _building(item, facts)
        case State.STARTING | State.RUNNING:
            return _launched(item, facts)
        case _:
            return Decision(item)


def failed(item: Item, stage: Stage, reason: str, now: float) -> Decision:
    return _end(item, now, State.FAILED, reason, stage=stage)


def refused(item: Item, refusal: Refused, now: float) -> Decision:
    """The backend said "not now": back in line, and not before its own time or a wait that doubles to ten minutes."""
    if item.desired is Desired.STOP:
        return _end(item, now, State.STOPPED, "cancelled before it started")
    wait = _wait(item, refusal)
    reason = f"waiting for the backend: {refusal.message}"
    kept = item
    if len(item.timeline) > 1 and item.timeline[-2][1:] == (State.PENDING, reason):
        # The same refusal again: the timeline keeps when it was first heard, not each repetition.
        kept = item.but(timeline=item.timeline[:-2])
        since = item.timeline[-2].at
    else:
        since = now
    waiting = kept.moved(
        State.PENDING,
        since,
        reason,
        lease=None,
        refusals=item.refusals + 1,
        not_before=now + wait,
        due=now + wait,
        deadline=_pending_deadline(item),
    )
    return Decision(waiting, slot=_release(item))


def postponed(item: Item, trouble: Temporary, now: float) -> Item:
    """Its source cannot be fetched, or its build not begun, for now: that is ordered again after a wait."""
    lease = Lease(Act.PREPARE, now + _wait(item, trouble))
    reason = f"tried again later: {trouble.message}"
    return item.but(reason=reason, lease=lease, due=lease.until, refusals=item.refusals + 1)


def _pending(item: Item, facts: Facts) -> Decision:
    now = facts.now
    if (over := _over_before_start(item, facts, Stage.LAUNCH)) is not None:
        return over
    if facts.trouble is not None:
        return Decision(item)
    if facts.queue is None:
        return failed(item, Stage.LAUNCH, f"its queue {item.queue} was deleted; submit to another", now)
    if item.image is None or facts.image is Presence.ABSENT:
        if item.lease is not None and item.lease.guards(Act.PREPARE, now):
            return _rest(item, now, item.lease.until)
        return _prepare(item, now)
    return _ready(item, facts)


def _building(item: Item, facts: Facts) -> Decision:
    now = facts.now
    if (over := _over_before_start(item, facts, Stage.BUILD)) is not None:
        return over
    if facts.image is Presence.PRESENT:
        return _ready(item, facts)
    if facts.build is None:
        return Decision(item)
    match facts.build.phase:
        case BuildPhase.FAILED:
            tail = f"\n{facts.build.log_tail}" if facts.build.log_tail else ""
            return failed(item, Stage.BUILD, f"the build failed: {facts.build.reason}{tail}", now)
        case BuildPhase.ABSENT if item.lease is None or not item.lease.guards(Act.PREPARE, now):
            return _prepare(item, now)
        case _:
            return _rest(item, now, now + LOOK_AT_BUILD)


def _over_before_start(item: Item, facts: Facts, stage: Stage) -> Decision | None:
    """The ends of an item that has never reached its backend."""
    now = facts.now
    if item.desired is Desired.STOP:
        return _end(item, now, State.STOPPED, "cancelled before it started")
    if item.deadline is not None and now >= item.deadline:
        why = f"; the last look failed: {facts.trouble.message}" if facts.trouble is not None else ""
        last = f" ({item.reason})" if item.reason else ""
        limit = item.timeouts.build if item.state is State.BUILDING else item.timeouts.pending
        return failed(item, stage, f"{item.state} for more than {_duration(limit)}{last}{why}", now)
    if facts.image is Presence.UNAUTHORISED:
        return failed(
            item, Stage.BUILD, f"the registry refused to say whether {item.image} exists: not authorised", now
        )
    if isinstance(facts.trouble, Permanent):
        # Nothing was started, and no later look will tell more; the items behind it need not wait for its deadline.
        return failed(item, Stage.BUILD, facts.trouble.message, now)
    return None


def _ready(item: Item, facts: Facts) -> Decision:
    """Its image is there: admitted if its turn has come, else in line."""
    now = facts.now
    queue = facts.queue
    if queue is not None and not queue.paused and facts.first and not facts.full and item.not_before <= now:
        starting = item.moved(
            State.STARTING,
            now,
            capped=queue.capped,
            lease=Lease(Act.START, now + START_LEASE),
            due=now + START_LEASE,
            deadline=now + item.timeouts.start,
        )
        return Decision(starting, Act.START, Slot.ACQUIRE if queue.capped else Slot.KEEP)
    deadline = _pending_deadline(item)
    if item.state is State.BUILDING:
        ready = item.moved(State.PENDING, now, "its image is ready", lease=None, due=deadline, deadline=deadline)
        return Decision(ready)
    return _rest(item, now, item.not_before if item.not_before > now else deadline)


def _prepare(item: Item, now: float) -> Decision:
    lease = Lease(Act.PREPARE, now + PREPARE_LEASE)
    image = item.image if item.state is State.BUILDING else None
    return Decision(item.but(image=image, lease=lease, due=lease.until), Act.PREPARE)


def _launched(item: Item, facts: Facts) -> Decision:
    if facts.run is None:
        # Nobody could say how the run is. It may be alive, so nothing is claimed about it.
        return Decision(item)
    match facts.run.phase:
        case RunPhase.ABSENT:
            return _absent(item, facts.now)
        case RunPhase.STARTING | RunPhase.RUNNING:
            return _alive(item, facts.run, facts)
        case RunPhase.PREEMPTED if item.desired is Desired.RUN:
            return _preempted(item, facts.run, facts.now)
        case _:
            return _ended(item, facts.run, facts.now)


def _absent(item: Item, now: float) -> Decision:
    unconfirmed = item.state is State.STARTING and item.backend_id is None
    if item.state is State.STARTING and item.lease is not None and item.lease.guards(Act.START, now):
        # Also one that the backend has confirmed: its lists may lag behind its answers.
        return _rest(item, now, item.lease.until)
    if unconfirmed and item.desired is Desired.RUN and item.deadline is not None and now < item.deadline:
        lease = Lease(Act.START, now + START_LEASE)
        return Decision(item.but(lease=lease, due=lease.until), Act.START)
    if item.desired is Desired.STOP:
        return _end(item, now, State.STOPPED, "cancelled")
    if item.desired is Desired.EXPIRE or unconfirmed:
        return failed(item, _stage(item), _expired(item), now)
    return failed(item, Stage.RUN, "the run disappeared: the backend no longer knows it", now)


def _alive(item: Item, run: RunStatus, facts: Facts) -> Decision:
    now = facts.now
    known = _learn(item, run)
    if run.phase is RunPhase.RUNNING and item.state is State.STARTING:
        known = known.moved(
            State.RUNNING,
            now,
            run.reason,
            lease=item.lease if item.lease is not None and item.lease.act is Act.STOP else None,
            started_at=now,
            due=now + facts.look_again,
            deadline=now + item.timeouts.run,
        )
    elif item.desired is Desired.RUN and item.deadline is not None and now >= item.deadline:
        known = known.but(desired=Desired.EXPIRE)
    if known.desired is not Desired.RUN:
        if known.lease is not None and known.lease.guards(Act.STOP, now):
            return _rest(known, now, known.lease.until)
        lease = Lease(Act.STOP, now + item.timeouts.stop)
        return Decision(known.but(lease=lease, due=lease.until, reason="stopping"), Act.STOP)
    return _rest(known, now, min(now + facts.look_again, known.deadline or now + facts.look_again))


def _ended(item: Item, run: RunStatus, now: float) -> Decision:
    known = _learn(item, run)
    if run.phase is RunPhase.FINISHED:
        return _end(known, now, State.FINISHED, run.reason)
    if item.desired is Desired.EXPIRE:
        return failed(known, _stage(item), _expired(item), now)
    if item.desired is Desired.STOP:
        return _end(known, now, State.STOPPED, "cancelled")
    if run.phase is RunPhase.STOPPED:
        return _end(known, now, State.STOPPED, run.reason or "stopped from outside Slipway")
    return failed(known, Stage.RUN, run.reason or "the run failed", now)


def _preempted(item: Item, run: RunStatus, now: float) -> Decision:
    known = _learn(item, run)
    if item.resumes >= MAX_RESUMES:
        return failed(known, Stage.RUN, f"preempted {item.resumes + 1} times; resumed {MAX_RESUMES} times at most", now)
    again = known.moved(State.PREEMPTED, now, run.reason).moved(State.PENDING, now, "preempted; in line again")
    again = again.but(
        attempt=item.attempt + 1,
        resumes=item.resumes + 1,
        refusals=0,
        backend_id=None,
        lease=None,
    )
    deadline = _pending_deadline(again)
    return Decision(again.but(due=deadline, deadline=deadline), slot=_release(item))


def _end(item: Item, now: float, state: State, reason: str, stage: Stage | None = None) -> Decision:
    over = item.moved(state, now, reason, stage=stage, lease=None, due=None, deadline=None, ended_at=now)
    return Decision(over, slot=_release(item))


def _rest(item: Item, now: float, due: float) -> Decision:
    """Nothing to do until `due`. Written down only when the tick would otherwise come again and again."""
    if item.due is not None and item.due > now:
        return Decision(item)
    return Decision(item.but(due=due))


def _learn(item: Item, run: RunStatus) -> Item:
    """What the backend told that the item does not know yet; the same object when there is nothing new."""
    told: dict[str, object] = {}
    if run.backend_id not in (None, item.backend_id):
        told["backend_id"] = run.backend_id
    if run.exit_code not in (None, item.exit_code):
        told["exit_code"] = run.exit_code
    if run.metrics and run.metrics != item.metrics:
        told["metrics"] = run.metrics
    if not set(run.warnings) <= set(item.warnings):
        told["warnings"] = tuple(dict.fromkeys((*item.warnings, *run.warnings)))
    return item.but(**told) if told else item


def _wait(item: Item, trouble: Temporary) -> float:
    """Seconds: what the other side asked for, else five that double to ten minutes."""
    return trouble.retry_after if trouble.retry_after is not None else min(5.0 * 2**item.refusals, 600.0)


def _release(item: Item) -> Slot:
    return Slot.RELEASE if item.capped else Slot.KEEP


def _pending_deadline(item: Item) -> float:
    """Counted from when it joined the line: a refusal does not start it anew, a preemption does."""
    joined = max((moment.at for moment in item.timeline if moment.state is State.PREEMPTED), default=item.created_at)
    return joined + item.timeouts.pending


def _stage(item: Item) -> Stage:
    return Stage.LAUNCH if item.state is State.STARTING else Stage.RUN


def _expired(item: Item) -> str:
    if item.state is State.STARTING:
        return f"it did not start within {_duration(item.timeouts.start)}"
    return f"it ran for more than its time limit of {_duration(item.timeouts.run)}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:g} s"
