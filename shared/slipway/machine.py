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

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.errors import Permanent, Refused, SlipwayError, Temporary
from slipway.model import (
    Act,
    BuildPhase,
    BuildStatus,
    Desired,
    Failure,
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
ABSENCE = 15.0
"""Seconds for which a backend must not know a run that it knew, before the run has disappeared. Lists lag behind."""
LOOK_AT_BUILD = 60.0
"""Seconds between looks at a build that no event has told of."""

BUILDING = "building its image"

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.BUILDING, State.STARTING, State.FAILED, State.STOPPED}),
    State.BUILDING: frozenset({State.PENDING, State.STARTING, State.FAILED, State.STOPPED}),
    State.STARTING: frozenset(
        {State.PENDING, State.RUNNING, State.PREEMPTED, State.FINISHED, State.FAILED, State.STOPPED}
    ),
    State.RUNNING: frozenset({State.PENDING, State.PREEMPTED, State.FINISHED, State.FAILED, State.STOPPED}),
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
    start_lease: float = 120.0
    """Seconds that this target may take to start a run."""
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


def rejected(item: Item, reason: str, now: float) -> Decision:
    """The backend does not take it as it is."""
    return _retried(item, Failure.CONFIGURATION, Stage.LAUNCH, reason, now)


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
    if facts.build is not None and facts.build.phase is BuildPhase.QUEUED and item.desired is Desired.RUN:
        item = _in_builders_line(item, facts.build, now)
    if (over := _over_before_start(item, facts, Stage.BUILD)) is not None:
        return over
    if facts.image is Presence.PRESENT:
        return _ready(item, facts)
    if facts.build is None:
        return Decision(item)
    match facts.build.phase:
        case BuildPhase.RUNNING if item.reason != BUILDING:
            return _rest(item.but(reason=BUILDING), now, now + LOOK_AT_BUILD)
        case BuildPhase.FAILED:
            tail = f"\n{facts.build.log_tail}" if facts.build.log_tail else ""
            return failed(item, Stage.BUILD, f"the build failed: {facts.build.reason}{tail}", now)
        case BuildPhase.ABSENT if item.lease is None or not item.lease.guards(Act.PREPARE, now):
            return _prepare(item, now)
        case _:
            return _rest(item, now, now + LOOK_AT_BUILD)


def _in_builders_line(item: Item, build: BuildStatus, now: float) -> Item:
    """As it is until its next look; then its build may take as long as one that begins now. The time for which it may
    be pending bounds that."""
    if item.due is not None and item.due > now and item.reason == build.reason:
        return item
    deadline = max(item.deadline or 0.0, min(now + item.timeouts.build, _pending_deadline(item)))
    return item.but(reason=build.reason, deadline=deadline, due=now + LOOK_AT_BUILD)


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
        return failed(item, Stage.BUILD if item.built else Stage.LAUNCH, facts.trouble.message, now)
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
            not_before=0.0,
            lease=Lease(Act.START, now + facts.start_lease),
            due=now + facts.start_lease,
            deadline=now + item.timeouts.start,
        )
        return Decision(starting, Act.START, Slot.ACQUIRE if queue.capped else Slot.KEEP)
    deadline = _pending_deadline(item)
    if item.state is State.BUILDING:
        ready = item.moved(State.PENDING, now, "its image is ready", lease=None, due=deadline, deadline=deadline)
        return Decision(ready)
    if item.not_before > now:
        return _rest(item, now, item.not_before)
    if item.not_before > 0.0:
        return Decision(item.but(not_before=0.0, due=deadline))  # its wait is over, and it has no slot: in line again
    return _rest(item, now, deadline)


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
            return _absent(item, facts)
        case RunPhase.STARTING | RunPhase.RUNNING:
            return _alive(item, facts.run, facts)
        case RunPhase.PREEMPTED if item.desired is Desired.RUN:
            return _preempted(item, facts.run, facts.now)
        case _:
            return _ended(item, facts.run, facts.now)


def _absent(item: Item, facts: Facts) -> Decision:
    now = facts.now
    unconfirmed = item.state is State.STARTING and item.backend_id is None
    if item.state is State.STARTING and item.lease is not None and item.lease.guards(Act.START, now):
        # Also one that the backend has confirmed: its lists may lag behind its answers.
        return _rest(item, now, item.lease.until)
    if unconfirmed and item.desired is Desired.RUN and item.deadline is not None and now < item.deadline:
        lease = Lease(Act.START, now + facts.start_lease)
        return Decision(item.but(lease=lease, due=lease.until), Act.START)
    if facts.run is None or not facts.run.certain:
        if item.missing_since is None:
            return Decision(item.but(missing_since=now, due=now + ABSENCE))
        if now < item.missing_since + ABSENCE:
            return _rest(item, now, item.missing_since + ABSENCE)
    if item.desired is Desired.STOP:
        return _end(item, now, State.STOPPED, "cancelled")
    if item.desired is Desired.EXPIRE or unconfirmed:
        return failed(item, _stage(item), _expired(item), now)
    reason = "the run disappeared: the backend no longer knows it"
    return _retried(item, Failure.INFRASTRUCTURE, Stage.RUN, reason, now)


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
            deadline=now + item.timeouts.longest_run,
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
    return _retried(known, run.failure, Stage.RUN, run.reason or "the run failed", now)


def _preempted(item: Item, run: RunStatus, now: float) -> Decision:
    if item.resumes >= item.max_resumes:
        reason = f"preempted {item.resumes + 1} times; resumed {item.max_resumes} times at most (max_resumes)"
        return failed(_learn(item, run), Stage.RUN, reason, now)
    preempted = _learn(item, run).moved(State.PREEMPTED, now, run.reason)
    return _again(preempted.but(resumes=item.resumes + 1), "preempted; in line again", now, wait=0.0)


def _retried(item: Item, failure: Failure, stage: Stage, reason: str, now: float) -> Decision:
    """Failed, or in line again where its queue's `retries` cover this class of failure."""
    times, allowed = item.retried.get(failure, 0), item.retries.get(failure, 0)
    if times >= allowed or item.desired is not Desired.RUN:
        tried = f" (tried again {times} times)" if times else ""
        return failed(item, stage, f"{reason}{tried}", now)
    again = item.but(retried={**item.retried, failure: times + 1}, exit_code=None)
    return _again(again, f"tried again, {times + 1} of {allowed}: {reason}", now, wait=_backoff(item, times))


def _again(item: Item, reason: str, now: float, *, wait: float) -> Decision:
    """The next attempt of the same run, in line after `wait` seconds."""
    due = now + wait if wait else now + item.timeouts.pending
    again = item.moved(
        State.PENDING,
        now,
        reason,
        attempt=item.attempt + 1,
        refusals=0,
        not_before=now + wait if wait else 0.0,
        backend_id=None,
        trouble="",
        lease=None,
        missing_since=None,
        started_at=None,
        joined_at=now,
        due=due,
        deadline=now + item.timeouts.pending,
    )
    return Decision(again, slot=_release(item))


def _end(item: Item, now: float, state: State, reason: str, stage: Stage | None = None) -> Decision:
    over = item.moved(state, now, reason, stage=stage, trouble="", lease=None, due=None, deadline=None, ended_at=now)
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
    if item.missing_since is not None:
        told["missing_since"] = None
    if run.trouble != item.trouble and item.desired is Desired.RUN:
        told["trouble"] = run.trouble
    if not set(run.warnings) <= set(item.warnings):
        told["warnings"] = tuple(dict.fromkeys((*item.warnings, *run.warnings)))
    return item.but(**told) if told else item


def _wait(item: Item, trouble: Temporary) -> float:
    """Seconds: what the other side asked for, else a backoff."""
    return trouble.retry_after if trouble.retry_after is not None else _backoff(item, item.refusals)


def _backoff(item: Item, times: int) -> float:
    """Five seconds that double to ten minutes, and up to a quarter more: items that were refused together do not come
    back together. The quarter is drawn from the item's name, so that a decision stays a function of its facts."""
    jitter = zlib.crc32(f"{item.slot}.{times}".encode()) / 2**32
    return min(5.0 * 2.0**times, 600.0) * (1.0 + jitter / 4)


def _release(item: Item) -> Slot:
    return Slot.RELEASE if item.capped else Slot.KEEP


def _pending_deadline(item: Item) -> float:
    """Counted from when this attempt joined the line: a refusal does not start it anew."""
    return (item.joined_at or item.created_at) + item.timeouts.pending


def _stage(item: Item) -> Stage:
    return Stage.LAUNCH if item.state is State.STARTING else Stage.RUN


def _expired(item: Item) -> str:
    if item.state is State.STARTING:
        why = f": {item.trouble}" if item.trouble else ""
        return f"it did not start within {_duration(item.timeouts.start)}{why}"
    return f"it ran for more than its time limit of {_duration(item.timeouts.longest_run)}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:g} s"
