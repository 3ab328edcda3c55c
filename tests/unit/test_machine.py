"""`decide` as a table: state × wish × facts → state, act, slot. And its laws, over every combination."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from slipway.errors import Refused, Temporary
from slipway.machine import ABSENCE, TRANSITIONS, Facts, decide, failed, refused, rejected
from slipway.model import (
    MAX_RESUMES,
    Act,
    BuildPhase,
    BuildStatus,
    Desired,
    Failure,
    GitSource,
    ImageSource,
    Item,
    Job,
    Lease,
    Moment,
    Presence,
    Queue,
    RunPhase,
    RunStatus,
    Slot,
    Stage,
    State,
    Submission,
    Timeouts,
)

NOW = 1_000.0
QUEUE = Queue("team", "gpu", "local-process", max_jobs=2)


def an_item(state: State = State.PENDING, **changes: object) -> Item:
    source = changes.pop("source", ImageSource("img"))
    submission = Submission(Job(source), "gpu", "team", "proj")  # type: ignore[arg-type]
    item = Item(
        id="0001",
        submission=submission,
        resource="local-process",
        resource_args={},
        run_id="r",
        created_at=NOW - 10,
        image="img",
        state=state,
        due=NOW,
        deadline=NOW + 100,
        version=3,
        timeline=(Moment(NOW - 10, State.PENDING),),
    )
    return replace(item, **changes)  # type: ignore[arg-type]


def facts(**changes: object) -> Facts:
    return replace(Facts(NOW, queue=QUEUE), **changes)  # type: ignore[arg-type]


def run(phase: RunPhase, **changes: object) -> Facts:
    return facts(run=RunStatus(phase, **changes))  # type: ignore[arg-type]


STOP = {"desired": Desired.STOP}
EXPIRE = {"desired": Desired.EXPIRE}
START_LEASE = {"lease": Lease(Act.START, NOW + 5)}
STOP_LEASE = {"lease": Lease(Act.STOP, NOW + 5)}
PREPARE_LEASE = {"lease": Lease(Act.PREPARE, NOW + 5)}
LATE = {"deadline": NOW}
MISSED = {"missing_since": NOW - ABSENCE}
RETRIES = {"retries": {"infrastructure": 1}}
SOURCE = {"source": GitSource("https://example.com/r.git")}
UNRESOLVED = {**SOURCE, "image": None}
P, B, S, R = State.PENDING, State.BUILDING, State.STARTING, State.RUNNING
FIN, FAIL, STOPPED = State.FINISHED, State.FAILED, State.STOPPED
LOST = facts(trouble=Temporary("registry down"))


def build(phase: BuildPhase) -> Facts:
    return facts(image=Presence.ABSENT, build=BuildStatus(phase, reason="exit code 1", log_tail="boom"))


TABLE = [
    # what it says, state, item, facts → state, act, slot
    ("its turn: it starts", P, {}, facts(), S, Act.START, Slot.ACQUIRE),
    ("someone is ahead: it waits", P, {}, facts(first=False), P, Act.NOTHING, Slot.KEEP),
    ("no slot: it waits", P, {}, facts(full=True), P, Act.NOTHING, Slot.KEEP),
    ("paused: it waits", P, {}, facts(queue=replace(QUEUE, paused=True)), P, Act.NOTHING, Slot.KEEP),
    ("refused a while ago: it waits", P, {"not_before": NOW + 1}, facts(), P, Act.NOTHING, Slot.KEEP),
    ("its queue is gone: it fails", P, {}, facts(queue=None), FAIL, Act.NOTHING, Slot.RELEASE),
    ("cancelled in line", P, STOP, facts(), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("cancelled although the registry is down", P, STOP, LOST, STOPPED, Act.NOTHING, Slot.RELEASE),
    ("too long in line: it fails", P, LATE, facts(first=False), FAIL, Act.NOTHING, Slot.RELEASE),
    ("too long in line, registry down: it fails", P, LATE, LOST, FAIL, Act.NOTHING, Slot.RELEASE),
    ("unresolved: it is prepared", P, UNRESOLVED, facts(), P, Act.PREPARE, Slot.KEEP),
    ("being prepared: it waits", P, {**UNRESOLVED, **PREPARE_LEASE}, facts(), P, Act.NOTHING, Slot.KEEP),
    ("its image was deleted: prepared again", P, SOURCE, facts(image=Presence.ABSENT), P, Act.PREPARE, Slot.KEEP),
    ("built and its turn", P, SOURCE, facts(image=Presence.PRESENT), S, Act.START, Slot.ACQUIRE),
    ("no right to ask the registry", P, SOURCE, facts(image=Presence.UNAUTHORISED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("a build runs: it waits", B, SOURCE, build(BuildPhase.RUNNING), B, Act.NOTHING, Slot.KEEP),
    ("a build is queued: it waits", B, SOURCE, build(BuildPhase.QUEUED), B, Act.NOTHING, Slot.KEEP),
    ("queued for longer than it may build", B, {**SOURCE, **LATE}, build(BuildPhase.QUEUED), B, Act.NOTHING, Slot.KEEP),
    ("cancelled while queued", B, {**SOURCE, **STOP}, build(BuildPhase.QUEUED), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("the build failed", B, SOURCE, build(BuildPhase.FAILED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("the build is lost: prepared again", B, SOURCE, build(BuildPhase.ABSENT), B, Act.PREPARE, Slot.KEEP),
    ("lost but claimed", B, {**SOURCE, **PREPARE_LEASE}, build(BuildPhase.ABSENT), B, Act.NOTHING, Slot.KEEP),
    ("built, image not seen yet", B, SOURCE, build(BuildPhase.SUCCEEDED), B, Act.NOTHING, Slot.KEEP),
    ("built: it starts", B, SOURCE, facts(image=Presence.PRESENT), S, Act.START, Slot.ACQUIRE),
    ("built, no slot: in line", B, SOURCE, facts(image=Presence.PRESENT, full=True), P, Act.NOTHING, Slot.KEEP),
    ("a build event inside a lease is not swallowed", B, {**SOURCE, **PREPARE_LEASE}, facts(image=Presence.PRESENT),
     S, Act.START, Slot.ACQUIRE),
    ("cancelled while building", B, {**SOURCE, **STOP}, build(BuildPhase.RUNNING), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("built too long", B, {**SOURCE, **LATE}, build(BuildPhase.RUNNING), FAIL, Act.NOTHING, Slot.RELEASE),
    ("started and seen running", S, START_LEASE, run(RunPhase.RUNNING), R, Act.NOTHING, Slot.KEEP),
    ("started, not running yet", S, START_LEASE, run(RunPhase.STARTING), S, Act.NOTHING, Slot.KEEP),
    ("someone is starting it", S, START_LEASE, run(RunPhase.ABSENT), S, Act.NOTHING, Slot.KEEP),
    ("the start was lost: once more", S, {}, run(RunPhase.ABSENT), S, Act.START, Slot.KEEP),
    ("the lease of another act does not guard", S, STOP_LEASE, run(RunPhase.ABSENT), S, Act.START, Slot.KEEP),
    ("acknowledged, then absent", S, {"backend_id": "x", **MISSED}, run(RunPhase.ABSENT), FAIL, Act.NOTHING,
     Slot.RELEASE),
    ("never started in time", S, {**LATE, **MISSED}, run(RunPhase.ABSENT), FAIL, Act.NOTHING, Slot.RELEASE),
    ("in the queue of its backend too long: stopped", S, LATE, run(RunPhase.STARTING), S, Act.STOP, Slot.KEEP),
    ("cancelled, and certainly gone", R, STOP, run(RunPhase.ABSENT, certain=True), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("certainly gone", R, {}, run(RunPhase.ABSENT, certain=True), FAIL, Act.NOTHING, Slot.RELEASE),
    ("expired and gone", S, {**EXPIRE, **MISSED}, run(RunPhase.ABSENT), FAIL, Act.NOTHING, Slot.RELEASE),
    ("cancelled while someone starts it", S, {**STOP, **START_LEASE}, run(RunPhase.ABSENT), S, Act.NOTHING, Slot.KEEP),
    ("cancelled, never started", S, {**STOP, **MISSED}, run(RunPhase.ABSENT), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("cancelled, turns up late: stopped", S, {**STOP, **START_LEASE}, run(RunPhase.STARTING), S, Act.STOP, Slot.KEEP),
    ("over before it was seen running", S, START_LEASE, run(RunPhase.FINISHED), FIN, Act.NOTHING, Slot.RELEASE),
    ("failed before it was seen running", S, START_LEASE, run(RunPhase.FAILED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("runs on", R, {}, run(RunPhase.RUNNING), R, Act.NOTHING, Slot.KEEP),
    ("a late 'starting' does not move it back", R, {}, run(RunPhase.STARTING), R, Act.NOTHING, Slot.KEEP),
    ("finished", R, {}, run(RunPhase.FINISHED), FIN, Act.NOTHING, Slot.RELEASE),
    ("failed", R, {}, run(RunPhase.FAILED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("stopped by someone else", R, {}, run(RunPhase.STOPPED), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("not known for once: asked again, the answer may be stale", R, {}, run(RunPhase.ABSENT), R, Act.NOTHING,
     Slot.KEEP),
    ("cancelled and not known for once: asked again", R, STOP, run(RunPhase.ABSENT), R, Act.NOTHING, Slot.KEEP),
    ("disappeared: failed, never started again", R, MISSED, run(RunPhase.ABSENT), FAIL, Act.NOTHING, Slot.RELEASE),
    ("disappeared, covered by retries: in line again", R, {**MISSED, **RETRIES}, run(RunPhase.ABSENT), P, Act.NOTHING,
     Slot.RELEASE),
    ("exit code 1, not covered", R, RETRIES, run(RunPhase.FAILED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("the node died, covered", R, RETRIES, run(RunPhase.FAILED, failure=Failure.INFRASTRUCTURE), P, Act.NOTHING,
     Slot.RELEASE),
    ("cancelled and the node died", R, {**RETRIES, **STOP}, run(RunPhase.FAILED, failure=Failure.INFRASTRUCTURE),
     STOPPED, Act.NOTHING, Slot.RELEASE),
    ("retries used up", R, {**RETRIES, "retried": {"infrastructure": 1}},
     run(RunPhase.FAILED, failure=Failure.INFRASTRUCTURE), FAIL, Act.NOTHING, Slot.RELEASE),
    ("preempted: in line again", R, {}, run(RunPhase.PREEMPTED), P, Act.NOTHING, Slot.RELEASE),
    ("preempted too often", R, {"resumes": MAX_RESUMES}, run(RunPhase.PREEMPTED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("preempted and cancelled", R, STOP, run(RunPhase.PREEMPTED), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("cancelled: stopped", R, STOP, run(RunPhase.RUNNING), R, Act.STOP, Slot.KEEP),
    ("being stopped", R, {**STOP, **STOP_LEASE}, run(RunPhase.RUNNING), R, Act.NOTHING, Slot.KEEP),
    ("cancelled and gone", R, STOP, run(RunPhase.STOPPED), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("cancelled and killed: stopped, not failed", R, STOP, run(RunPhase.FAILED), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("cancelled but it had finished", R, STOP, run(RunPhase.FINISHED), FIN, Act.NOTHING, Slot.RELEASE),
    ("cancelled and disappeared", R, {**STOP, **MISSED}, run(RunPhase.ABSENT), STOPPED, Act.NOTHING, Slot.RELEASE),
    ("past its time limit: stopped", R, LATE, run(RunPhase.RUNNING), R, Act.STOP, Slot.KEEP),
    ("stopped for its time limit: failed", R, EXPIRE, run(RunPhase.STOPPED), FAIL, Act.NOTHING, Slot.RELEASE),
    ("the target is unreachable: nothing is claimed", R, LATE, facts(trouble=Temporary("down")),
     R, Act.NOTHING, Slot.KEEP),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "item", "seen", "after", "act", "slot"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_table(state: State, item: dict, seen: Facts, after: State, act: Act, slot: Slot) -> None:
    decision = decide(an_item(state, **item), seen)
    assert (decision.item.state, decision.act, decision.slot) == (after, act, slot)


def every_situation() -> list[tuple[Item, Facts]]:
    wishes = list(Desired)
    leases = [None, *(Lease(act, NOW + dt) for act in (Act.PREPARE, Act.START, Act.STOP) for dt in (-1, 5))]
    looks = [
        *(facts(image=image, build=BuildStatus(phase) if phase else None, first=first, full=full, queue=queue)
          for image in (None, *Presence)
          for phase in (None, *BuildPhase)
          for first, full in ((True, False), (False, False), (True, True))
          for queue in (None, QUEUE, replace(QUEUE, paused=True))),
        *(facts(run=RunStatus(phase, backend_id=name), queue=None) for phase in RunPhase for name in (None, "b")),
        LOST,
    ]  # fmt: skip
    items = [
        an_item(state, desired=wish, lease=lease, source=source, image=image, deadline=deadline, resumes=resumes)
        for state, wish, lease in product(State, wishes, leases)
        for source, image in ((ImageSource("img"), "img"), (GitSource("u"), None), (GitSource("u"), "img"))
        for deadline in (NOW, NOW + 100)
        for resumes in (0, MAX_RESUMES)
        if state is not State.PREEMPTED and not (state in (P, B) and lease is not None and lease.act is not Act.PREPARE)
    ]
    return list(product(items, looks))


def test_every_situation_obeys_the_laws() -> None:
    """Design §1: total; terminal is final; deadlines; claims carry leases; moves follow the state machine."""
    for item, seen in every_situation():
        decision = decide(item, seen)
        after = decision.item
        if item.state.terminal:
            assert after is item
            assert decision.act is Act.NOTHING
            continue
        path = [moment.state for moment in after.timeline[len(item.timeline) :]]
        for before, then in zip([item.state, *path], path, strict=False):
            assert then in TRANSITIONS[before], (item, seen)
        assert after.state is (path[-1] if path else item.state)
        if after.state.terminal:
            assert after.due is None
            assert after.deadline is None
            assert after.lease is None
            assert decision.act is Act.NOTHING
            assert decision.slot is Slot.RELEASE
        elif after is not item:
            assert after.due is not None
            assert after.deadline is not None
        if decision.act is not Act.NOTHING:
            assert after.lease is not None
            assert after.lease.act is decision.act, "claim before acting"
            assert not (item.lease and item.lease.guards(decision.act, NOW)), "a held lease guards its act"
        if item.state is State.RUNNING and seen.run and seen.run.phase is RunPhase.ABSENT:
            assert decision.act is not Act.START, "running but absent is never started again"
        if item.desired is not Desired.RUN:
            assert decision.act is not Act.START or item.desired is Desired.EXPIRE
        assert (after.state is State.FAILED) == (after.stage is not None) or item.state is after.state


def test_a_decision_that_changes_nothing_returns_the_same_object() -> None:
    item = an_item(R, due=NOW + 30, deadline=NOW + 100)
    assert decide(item, run(RunPhase.RUNNING)).item is item


def test_a_look_that_came_due_is_put_off() -> None:
    after = decide(an_item(R, due=NOW), run(RunPhase.RUNNING)).item
    assert after.due == NOW + 60


def test_a_resumed_run_keeps_its_run_id_and_takes_the_next_attempt() -> None:
    after = decide(an_item(R, backend_id="b"), run(RunPhase.PREEMPTED, reason="node drained")).item
    assert (after.run_id, after.attempt, after.resumes, after.backend_id) == ("r", 2, 1, None)
    assert [moment.state for moment in after.timeline] == [P, State.PREEMPTED, P]
    assert after.deadline == NOW + after.timeouts.pending


def test_a_failure_carries_its_stage_and_the_log_of_the_build() -> None:
    after = decide(an_item(B, **SOURCE), build(BuildPhase.FAILED)).item
    assert after.stage is Stage.BUILD
    assert after.reason.endswith("boom")


def test_the_time_of_a_build_begins_when_its_builder_begins_it() -> None:
    queued = decide(an_item(B, **SOURCE, deadline=NOW), build(BuildPhase.QUEUED)).item
    assert (queued.deadline, queued.due, queued.reason) == (NOW + queued.timeouts.build, NOW + 60, "exit code 1")
    assert decide(queued, build(BuildPhase.QUEUED)).item is queued
    begun = decide(queued, build(BuildPhase.RUNNING)).item
    assert (begun.deadline, begun.reason) == (queued.deadline, "building its image")


def test_a_build_that_stays_queued_fails_its_item_when_it_has_been_pending_for_too_long() -> None:
    old = an_item(B, **SOURCE, deadline=NOW, timeouts=Timeouts(pending=10.0))
    assert decide(old, build(BuildPhase.QUEUED)).item.state is FAIL


def test_a_finished_run_keeps_what_the_backend_told() -> None:
    ended = run(RunPhase.FINISHED, exit_code=0, metrics={"accuracy": 0.9}, warnings=("w",))
    after = decide(an_item(R, warnings=("w",)), ended).item
    assert (after.exit_code, after.metrics, after.warnings, after.ended_at) == (0, {"accuracy": 0.9}, ("w",), NOW)


def test_an_item_without_a_cap_gives_back_no_slot() -> None:
    assert decide(an_item(R, capped=False), run(RunPhase.FINISHED)).slot is Slot.KEEP


def test_a_refusal_puts_it_back_in_line_and_the_wait_doubles() -> None:
    """Design §1.8: a quota keeps the item queued, with the reason shown."""
    item = an_item(S, **START_LEASE).moved(S, NOW)
    waits = []
    for _ in range(9):
        decision = refused(item, Refused("ResourceLimitExceeded: ml.p4d.24xlarge"), NOW)
        waits.append(decision.item.not_before - NOW)
        assert decision.slot is Slot.RELEASE
        assert "ResourceLimitExceeded" in decision.item.reason
        item = decision.item.moved(S, NOW)
    for wait, base in zip(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600], strict=True):
        assert base <= wait <= base * 1.25, "doubles to ten minutes, and items do not come back together"
    assert len(item.timeline) <= 5, "the same refusal is one line of the timeline, however often"


def test_a_refusal_does_not_put_off_the_deadline() -> None:
    item = an_item(S)
    assert refused(item, Refused("quota", retry_after=7), NOW).item.deadline == item.created_at + item.timeouts.pending


def test_the_reason_of_a_failure_is_kept() -> None:
    assert failed(an_item(S), Stage.LAUNCH, "no such image", NOW).item.reason == "no such image"


def test_what_keeps_a_run_from_going_on_is_kept_as_long_as_it_does() -> None:
    stuck = decide(an_item(S), run(RunPhase.STARTING, trouble="no node has a GPU")).item
    assert stuck.trouble == "no node has a GPU"
    assert decide(stuck, run(RunPhase.STARTING, trouble="no node has a GPU")).item.trouble == stuck.trouble
    assert decide(stuck, run(RunPhase.RUNNING)).item.trouble == ""
    assert decide(stuck, run(RunPhase.FINISHED)).item.trouble == ""


def test_one_that_did_not_start_in_time_says_what_kept_it() -> None:
    late = an_item(S, deadline=NOW, trouble="no node has a GPU")
    stopping = decide(late, run(RunPhase.STARTING, trouble="no node has a GPU")).item
    assert stopping.trouble == "no node has a GPU"
    gone = decide(stopping.but(lease=None), run(RunPhase.ABSENT, certain=True)).item
    assert gone.state is FAIL
    assert gone.reason.endswith(": no node has a GPU")


def test_a_run_that_is_known_again_is_not_missing_any_more() -> None:
    after = decide(an_item(R, missing_since=NOW - 5), run(RunPhase.RUNNING)).item
    assert after.missing_since is None


def test_a_run_that_is_tried_again_waits_and_keeps_its_run_id() -> None:
    item = an_item(R, backend_id="b", **RETRIES)
    after = decide(item, run(RunPhase.FAILED, failure=Failure.INFRASTRUCTURE, reason="node lost")).item
    assert (after.run_id, after.attempt, after.retried, after.backend_id) == ("r", 2, {"infrastructure": 1}, None)
    assert after.not_before > NOW
    assert after.due == after.not_before
    assert after.reason == "tried again, 1 of 1: node lost"


def test_what_the_backend_does_not_take_is_tried_again_only_where_the_queue_says_so() -> None:
    item = an_item(S, **START_LEASE)
    assert rejected(item, "no such instance type", NOW).item.stage is Stage.LAUNCH
    again = rejected(item.but(retries={"configuration": 1}), "no such instance type", NOW)
    assert (again.item.state, again.slot) == (P, Slot.RELEASE)
