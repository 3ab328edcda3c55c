"""What pods and events tell, in words: a table of what the documentation has, and total over what it has not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.model import Failure, RunPhase
from slipway.status import pods
from slipway.status.kubernetes import GONE, of_events, run_status


def pod(name: str = "p", made: str | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": made}, "spec": {}, "status": status}


def disrupted(at: str | None = None, reason: str = "EvictionByEvictionAPI") -> dict[str, Any]:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": at}


def container(name: str = "c", **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "restartCount": 0}


def ended(code: int, reason: str = "Error", at: str = "2026-11-26T00:00:00Z", **more: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at, **more}}


def event(reason: str, kind: str = "Job", message: str = "", type: str = "Warning") -> dict[str, Any]:
    return {"reason": reason, "type": type, "message": message, "involvedObject": {"kind": kind, "name": "n"}}


JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"activeDeadlineSeconds": 5}}
FAILED = {**JOB, "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}}


class TestWaiting:
    @pytest.mark.parametrize("reason", pods.WAITING)
    def test_every_documented_reason_has_words(self, reason: str) -> None:
        told = pods.troubles([pod(containerStatuses=[container(waiting={"reason": reason, "message": "said"})])])
        assert told == (f"container c of pod p waits: {pods.WAITING[reason]} ({reason}): said",)

    @pytest.mark.parametrize("reason", sorted(pods.ON_ITS_WAY))
    def test_one_that_is_on_its_way_is_in_no_trouble(self, reason: str) -> None:
        assert pods.troubles([pod(containerStatuses=[container(waiting={"reason": reason})])]) == ()

    def test_a_reason_that_nobody_documents_is_told_as_it_is(self) -> None:
        (told,) = pods.troubles([pod(initContainerStatuses=[container("init", waiting={"reason": "Pondering"})])])
        assert told == "container init of pod p waits: Pondering"

    def test_the_scheduler_is_quoted(self) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
        assert pods.troubles([pod(conditions=[condition])]) == ("pod p finds no node: 0/3 nodes",)

    @pytest.mark.parametrize("spec", [{"suspend": True}, {"runPolicy": {"suspend": True}}])
    def test_what_is_suspended_says_so(self, spec: Any) -> None:
        told = run_status({**JOB, "spec": spec})
        assert (told.phase, told.trouble.partition(":")[0]) == (RunPhase.STARTING, "it is suspended")

    def test_what_two_pods_say_alike_is_told_once(self) -> None:
        event_of_quota = event("FailedCreate", message="exceeded quota")
        assert pods.troubles([], [event_of_quota, event_of_quota]) == ("Job n: FailedCreate: exceeded quota",)

    def test_what_many_pods_say_is_told_once_with_their_number(self) -> None:
        condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
        told = pods.troubles([pod(f"p-{index}", conditions=[condition]) for index in range(1000)])
        assert told == ("pod p-0 (and 999 more pods) finds no node: 0/3 nodes are available",)

    def test_what_differs_in_the_pods_own_name_alone_is_the_same(self) -> None:
        def crashed(name: str) -> dict[str, Any]:
            message = f"back-off 5m0s restarting failed container=c pod={name}_ml(uid-of-{name})"
            waiting = container(waiting={"reason": "CrashLoopBackOff", "message": message})
            one = pod(name, containerStatuses=[waiting])
            one["metadata"]["uid"] = f"uid-of-{name}"
            return one

        (told,) = pods.troubles([crashed("train-a"), crashed("train-b")])
        assert told.startswith("container c of pod train-a (and 1 more pod) waits: ")
        assert told.endswith("pod=train-a_ml(uid-of-train-a)")

    def test_of_many_different_things_the_first_are_told(self) -> None:
        happened = [event("FailedMount", "Pod", f"volume {index} is not there") for index in range(5)]
        *told, rest = pods.troubles([], happened)
        assert told == [f"Pod n: FailedMount: volume {index} is not there" for index in range(3)]
        assert rest == "… and 2 more"

    def test_a_long_story_is_cut(self) -> None:
        (told,) = pods.troubles([], [event("FailedMount", "Pod", "x" * 5000)])
        assert (len(told), told[-1]) == (pods.LONGEST, "…")

    @pytest.mark.parametrize(("reason", "type"), [("FailedCreate", "Normal"), ("BackOff", "Warning")])
    def test_events_that_tell_nothing_new_are_passed_over(self, reason: str, type: str) -> None:
        assert pods.troubles([], [event(reason, type=type)]) == ()


class TestEnding:
    @pytest.mark.parametrize("reason", pods.DISRUPTED)
    def test_every_disruption_is_a_preemption(self, reason: str) -> None:
        marked = pod(conditions=[{"type": "DisruptionTarget", "status": "True", "reason": reason}], phase="Failed")
        told = run_status(FAILED, [marked])
        assert (told.phase, told.failure) == (RunPhase.PREEMPTED, Failure.INFRASTRUCTURE)
        assert pods.DISRUPTED[reason] in told.reason

    @pytest.mark.parametrize("reason", sorted(pods.EVICTED))
    def test_as_are_the_words_of_older_clusters(self, reason: str) -> None:
        assert run_status(FAILED, [pod(phase="Failed", reason=reason)]).phase is RunPhase.PREEMPTED

    @pytest.mark.parametrize("reason", pods.DISRUPTIONS)
    def test_and_events_about_pods_that_are_gone(self, reason: str) -> None:
        assert run_status(FAILED, [], [event(reason, "Pod", "by ml/big")]).phase is RunPhase.PREEMPTED

    def test_a_disruption_goes_over_what_its_program_said(self) -> None:
        killed = container(**ended(143))
        marked = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        told = run_status(FAILED, [pod(containerStatuses=[killed]), pod("q", conditions=[marked])])
        assert told.phase is RunPhase.PREEMPTED

    def test_an_old_disruption_does_not_explain_what_later_pods_did(self) -> None:
        """With a backoffLimit: one pod is drained, and those that take its place fail by themselves."""
        drained = pod("a", "2026-11-26T00:00:00Z", conditions=[disrupted("2026-11-26T00:01:00Z")], phase="Failed")
        drained["status"]["containerStatuses"] = [container(**ended(143, at="2026-11-26T00:01:30Z"))]
        later = [
            pod(
                name,
                f"2026-11-26T00:0{at}:00Z",
                containerStatuses=[container(**ended(1, at=f"2026-11-26T00:0{at}:30Z"))],
            )
            for name, at in (("b", 2), ("c", 3), ("d", 4))
        ]
        told = run_status(FAILED, [drained, *later])
        assert (told.phase, told.exit_code, told.failure) == (RunPhase.FAILED, 1, Failure.USER)
        assert told.reason == "container c of pod b exited with code 1"

    @pytest.mark.parametrize(
        ("at", "made"),
        [
            # Its gang misses the one that is gone.
            ("2026-11-26T00:01:00Z", "2026-11-26T00:00:00Z"),
            ("2026-11-26T00:01:00Z", "2026-11-26T00:01:00Z"),
            (None, "2026-11-26T00:02:00Z"),
            ("2026-11-26T00:01:00Z", None),
        ],
    )
    def test_a_pod_that_was_there_before_a_disruption_failed_for_it(self, at: str | None, made: str | None) -> None:
        """As one does of which nobody knows when it was made, or of a disruption of which nobody knows when it was."""
        drained = pod("a", "2026-11-26T00:00:00Z", conditions=[disrupted(at)], phase="Failed")
        other = pod("b", made, containerStatuses=[container(**ended(1, at="2026-11-26T00:03:00Z"))])
        assert run_status(FAILED, [drained, other]).phase is RunPhase.PREEMPTED

    def test_of_two_disruptions_the_later_may_be_why(self) -> None:
        first = pod("a", "2026-11-26T00:00:00Z", conditions=[disrupted("2026-11-26T00:01:00Z")])
        failed = pod("b", "2026-11-26T00:02:00Z", containerStatuses=[container(**ended(1))])
        again = pod("c", "2026-11-26T00:03:00Z", conditions=[disrupted("2026-11-26T00:05:00Z")])
        told = run_status(FAILED, [first, failed, again])
        assert told.phase is RunPhase.PREEMPTED
        assert told.reason.startswith("pod c was disrupted")

    @pytest.mark.parametrize(
        ("message", "cure"),
        [
            (
                "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
                "raise resources.limits.ephemeral-storage",
            ),
            (
                'Container train exceeded its local ephemeral storage limit "1Gi". ',
                "raise resources.limits.ephemeral-storage",
            ),
            ('Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". ', "raise the volume's sizeLimit"),
        ],
    )
    def test_more_disk_than_a_pods_own_limit_is_its_programs_fault(self, message: str, cure: str) -> None:
        """The kubelet says Evicted of that too, without a mark."""
        killed = container(**ended(137))
        for told in (
            run_status(FAILED, [pod(phase="Failed", reason="Evicted", message=message, containerStatuses=[killed])]),
            run_status(FAILED, [pod(phase="Failed", reason="Evicted", message=message)]),
            run_status(FAILED, [], [event("Evicted", "Pod", message)]),
        ):
            assert (told.phase, told.failure) == (RunPhase.FAILED, Failure.USER)
            assert f"than its limit, and was evicted: {cure}: {message.strip()}" in told.reason

    @pytest.mark.parametrize(
        "message",
        [
            "The node was low on resource: memory. Container c was using 2Gi, which exceeds its request of 1Gi.",
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10%, available: 8%.",
            "Pod was rejected: The node had condition: [DiskPressure]. ",
        ],
    )
    def test_what_its_node_is_short_of_is_not(self, message: str) -> None:
        assert run_status(FAILED, [pod(phase="Failed", reason="Evicted", message=message)]).phase is RunPhase.PREEMPTED
        assert run_status(FAILED, [], [event("Evicted", "Pod", message)]).phase is RunPhase.PREEMPTED

    def test_the_first_that_failed_is_told(self) -> None:
        later = pod("a", containerStatuses=[container(**ended(1, at="2026-11-26T00:00:09Z"))])
        first = pod("b", containerStatuses=[container(**ended(2, at="2026-11-26T00:00:01Z"))])
        told = run_status(FAILED, [later, first])
        assert (told.exit_code, told.reason) == (2, "container c of pod b exited with code 2")

    def test_a_signal_is_named(self) -> None:
        told = run_status(FAILED, [pod(containerStatuses=[container(**ended(139))])])
        assert told.reason.endswith("exited with code 139 (signal 11)")

    @pytest.mark.parametrize("reason", sorted(pods.CANNOT_RUN))
    def test_a_program_that_cannot_run_is_our_configurations_fault(self, reason: str) -> None:
        told = run_status(FAILED, [pod(containerStatuses=[container(**ended(127, reason))])])
        assert told.failure is Failure.CONFIGURATION

    def test_one_that_waits_to_be_started_again_tells_its_last_end(self) -> None:
        again = {**container(waiting={"reason": "CrashLoopBackOff"}), "lastState": ended(3), "restartCount": 2}
        assert run_status(FAILED, [pod(containerStatuses=[again])]).exit_code == 3

    def test_a_pod_that_failed_as_a_whole_is_its_nodes_fault(self) -> None:
        told = run_status(FAILED, [pod(phase="Failed", reason="UnexpectedAdmissionError", message="no room")])
        assert (told.failure, told.reason) == (Failure.INFRASTRUCTURE, "pod p failed: no room")

    def test_a_deadline_goes_over_what_its_pods_say(self) -> None:
        late = {**JOB, "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}}
        told = run_status(late, [pod(containerStatuses=[container(**ended(137))])])
        assert "activeDeadlineSeconds, 5 s" in told.reason
        assert told.phase is RunPhase.FAILED


class TestGone:
    @pytest.mark.parametrize("reason", GONE)
    def test_the_last_event_of_a_job_is_remembered(self, reason: str) -> None:
        assert of_events([event("SuccessfulCreate", type="Normal"), event(reason)]).phase is GONE[reason]

    @pytest.mark.parametrize(
        ("reason", "phase"), [("PyTorchJobSucceeded", RunPhase.FINISHED), ("PyTorchJobFailed", RunPhase.FAILED)]
    )
    def test_as_is_an_operators(self, reason: str, phase: RunPhase) -> None:
        assert of_events([event(reason, "PyTorchJob")]).phase is phase

    @pytest.mark.parametrize("reason", ["Error", "Failed", "Completed", "Stopped", "PodFailed"])
    def test_a_word_without_the_kind_may_be_of_anything_on_the_way(self, reason: str) -> None:
        assert of_events([event(reason, "Workflow")]).phase is RunPhase.ABSENT

    def test_what_pods_say_is_not_the_run(self) -> None:
        told = of_events([event("Failed", "Pod"), event("Completed", "Pod")])
        assert (told.phase, told.certain) == (RunPhase.ABSENT, True)


words = st.sampled_from(
    [
        *("True", "False", "Failed", "Complete", "Running", "Pending", "Succeeded", "Evicted", "DisruptionTarget"),
        *("PodScheduled", "CrashLoopBackOff", "OOMKilled", "Error", "DeadlineExceeded", "Nobody knows", ""),
    ]
)
leaves = st.none() | st.booleans() | st.integers(0, 300) | words
states = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.none() | st.fixed_dictionaries({}, optional={"reason": words, "message": words}),
        "running": st.none() | st.just({"startedAt": "x"}),
        "terminated": st.none()
        | st.fixed_dictionaries({}, optional={"exitCode": st.integers(0, 255), "reason": words}),
    },
)
statuses = st.lists(
    st.fixed_dictionaries(
        {"name": words}, optional={"state": states, "lastState": states, "restartCount": st.integers(0, 3)}
    ),
    max_size=3,
)
conditions = st.lists(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("type", "status", "reason", "message", "lastTransitionTime"), words)
    ),
    max_size=3,
)
some_pods = st.lists(
    st.fixed_dictionaries(
        {
            "metadata": st.fixed_dictionaries(
                {"name": words}, optional={"creationTimestamp": st.none() | words, "uid": words}
            )
        },
        optional={
            "status": st.none()
            | st.fixed_dictionaries(
                {},
                optional={
                    "phase": words,
                    "reason": words,
                    "message": words,
                    "conditions": st.none() | conditions,
                    "containerStatuses": st.none() | statuses,
                    "initContainerStatuses": st.none() | statuses,
                },
            )
        },
    ),
    max_size=3,
)
events = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": words | st.just("Warning"),
            "reason": words | st.sampled_from([*pods.WARNINGS, *pods.DISRUPTIONS, *GONE]),
            "message": words,
            "involvedObject": st.none() | st.fixed_dictionaries({}, optional={"kind": words, "name": words}),
        },
    ),
    max_size=3,
)
resources = st.fixed_dictionaries(
    {"kind": st.sampled_from(["Job", "PyTorchJob", "Pod"]), "apiVersion": st.sampled_from(["batch/v1", "x/v1", "v1"])},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"name": words, "deletionTimestamp": st.just("x")}),
        "status": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "conditions": st.none() | conditions,
                "active": leaves,
                "succeeded": leaves,
                "failed": leaves,
                "state": st.none() | st.fixed_dictionaries({}, optional={"phase": words}),
            },
        ),
    },
)


@given(resources, some_pods, events)
def test_whatever_a_cluster_says_is_a_status(resource: Any, seen: Any, happened: Any) -> None:
    told = run_status(resource, seen, happened)
    assert told.phase in RunPhase
    assert told.phase not in (RunPhase.ABSENT, RunPhase.STOPPED)
    # Whoever failed says why, and nobody is in trouble any more.
    assert told.phase is not RunPhase.FAILED or told.reason
    assert told.phase in (RunPhase.STARTING, RunPhase.RUNNING) or told.trouble == ""


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=2000)), max_size=12))
def test_what_is_told_of_a_trouble_has_an_end(said: Any) -> None:
    waiting = [
        pod(name, containerStatuses=[container(waiting={"reason": "ImagePullBackOff", "message": message})])
        for name, message in said
    ]
    told = pods.troubles(waiting)
    assert bool(told) == bool(said)
    assert len(told) <= pods.SHOWN + 1
    assert len("; ".join(told)) <= pods.LONGEST + 50


@given(events)
def test_whatever_is_left_of_one_that_is_gone_is_a_status(happened: Any) -> None:
    assert of_events(happened).phase in (RunPhase.ABSENT, RunPhase.FINISHED, RunPhase.FAILED)
