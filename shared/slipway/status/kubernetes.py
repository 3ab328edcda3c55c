"""The state of a Kubernetes object as a run's: a Job's by its conditions, any other kind's by what its controller
reports, and of either what its pods and their events say beyond that.

A Job has ended when its conditions say so, whatever the number of its pods: W&B Launch waits for exactly one that
succeeded, and never sees a parallel Job finish. Custom resources report in one of three ways: `status.state.phase`
(Volcano), `status.conditions` (Kubeflow), or `status.replicatedJobsStatus` (JobSet).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from slipway.model import Failure, Json, RunPhase, RunStatus
from slipway.status import pods as words
from slipway.status.pods import Event, Pod

_STOPPING = (RunPhase.RUNNING, "stopping")
WORDS: Mapping[str, tuple[RunPhase, str]] = {
    **dict.fromkeys(("created", "pending", "inqueue", "queued", "suspended"), (RunPhase.STARTING, "")),
    **dict.fromkeys(("running", "completing", "restarting"), (RunPhase.RUNNING, "")),
    **dict.fromkeys(("terminating", "aborting"), _STOPPING),
    **dict.fromkeys(("succeeded", "completed", "complete"), (RunPhase.FINISHED, "")),
    **dict.fromkeys(("failed", "aborted", "timeout", "terminated"), (RunPhase.FAILED, "")),
}
"""What controllers call the states of a job, in lower case. The list is W&B's, and what Kubeflow, Volcano and JobSet
document beyond it."""
_PRECEDENCE = (
    (RunPhase.FAILED, ""),
    (RunPhase.FINISHED, ""),
    _STOPPING,
    (RunPhase.RUNNING, ""),
    (RunPhase.STARTING, ""),
)
"""Conditions stay true when later ones join them: an end is later than what led to it."""


DEADLINE = "DeadlineExceeded"
GONE: Mapping[str, RunPhase] = {
    "Completed": RunPhase.FINISHED,
    "BackoffLimitExceeded": RunPhase.FAILED,
    DEADLINE: RunPhase.FAILED,
    "PodFailurePolicy": RunPhase.FAILED,
    "FailedIndexes": RunPhase.FAILED,
    "MaxFailedIndexesExceeded": RunPhase.FAILED,
}
"""Reasons of the Job controller's last event, which outlives its Job by an hour, where the cluster is as it comes."""


def is_job(resource: Mapping[str, Json]) -> bool:
    """Whether it is a batch/v1 Job; Volcano has a kind of that name too."""
    return resource.get("kind") == "Job" and str(resource.get("apiVersion")).partition("/")[0] == "batch"


def run_status(resource: Mapping[str, Json], pods: Sequence[Pod] = (), events: Sequence[Event] = ()) -> RunStatus:
    """Of the run that this object is, with what its pods and the events of all of it say."""
    status = job_status(resource) if is_job(resource) else custom_status(resource)
    match status.phase:
        case RunPhase.FINISHED:
            return replace(status, exit_code=0)
        case RunPhase.FAILED:
            return _failed(resource, status, pods, events)
    phase = RunPhase.RUNNING if words.begun(pods) else status.phase
    if (resource.get("metadata") or {}).get("deletionTimestamp"):
        return replace(status, phase=phase, reason="stopping")
    return replace(status, phase=phase, trouble="; ".join([*_held(resource), *words.troubles(pods, events)]))


def of_events(events: Iterable[Event]) -> RunStatus:
    """Of an object that is gone, by the events that it left behind. `ttlSecondsAfterFinished` removes what is over, and
    that it is over must not be forgotten."""
    for event in events:
        about = event.get("involvedObject") or {}
        reason = str(event.get("reason") or "")
        phase = GONE.get(reason) if about.get("kind") == "Job" else None
        if phase is None and about.get("kind") != "Pod":
            # Operators name their kind first: PyTorchJobSucceeded.
            phase = WORDS.get(reason.removeprefix(str(about.get("kind"))).lower(), (None, ""))[0]
        if phase is RunPhase.FINISHED:
            return RunStatus(phase, "", exit_code=0)
        if phase is RunPhase.FAILED:
            return RunStatus(phase, f"{event.get('message') or reason} (it was removed since, and its pods with it)")
    return RunStatus(RunPhase.ABSENT, certain=True)


def _failed(resource: Mapping[str, Json], status: RunStatus, pods: Sequence[Pod], events: Sequence[Event]) -> RunStatus:
    if is_job(resource) and _reason_of(resource, "Failed") == DEADLINE:
        # Its pods were ended for it, and say so as if they had failed.
        limit = (resource.get("spec") or {}).get("activeDeadlineSeconds")
        return replace(status, reason=f"it ran for more than its activeDeadlineSeconds, {limit} s ({DEADLINE})")
    ended = words.ending(pods, events)
    if ended is None:
        return status
    phase = RunPhase.PREEMPTED if ended.preempted else RunPhase.FAILED
    return replace(status, phase=phase, reason=ended.reason, exit_code=ended.exit_code, failure=ended.failure)


def _held(resource: Mapping[str, Json]) -> Iterator[str]:
    """Kueue and others suspend what has to wait for its quota, a Kubeflow job in its `runPolicy`."""
    spec = resource.get("spec") or {}
    if spec.get("suspend") is True or (spec.get("runPolicy") or {}).get("suspend") is True:
        yield "it is suspended: it begins when whoever suspended it (Kueue, say) lets it"


def _reason_of(resource: Mapping[str, Json], kind: str) -> str:
    conditions = (resource.get("status") or {}).get("conditions") or []
    return next((str(each.get("reason")) for each in conditions if each.get("type") == kind), "")


def job_status(job: Mapping[str, Json]) -> RunStatus:
    """Of a batch/v1 Job. https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus"""
    status = job.get("status") or {}
    name = (job.get("metadata") or {}).get("name")
    for condition in status.get("conditions") or []:
        if condition.get("status") != "True":
            continue
        reason = str(condition.get("message") or condition.get("reason") or "")
        if condition.get("type") == "Complete":
            return RunStatus(RunPhase.FINISHED, "", name)
        if condition.get("type") == "Failed":
            return RunStatus(RunPhase.FAILED, reason or "the Job failed", name)
    if status.get("ready") or status.get("succeeded"):
        return RunStatus(RunPhase.RUNNING, "", name)
    return RunStatus(RunPhase.STARTING, "", name)


def custom_status(resource: Mapping[str, Json]) -> RunStatus:
    """Of an object of any other kind. One whose controller has said nothing yet is starting, which has a deadline."""
    status = resource.get("status") or {}
    name = (resource.get("metadata") or {}).get("name")
    state = status.get("state")
    phase = state.get("phase") if isinstance(state, Mapping) else None
    found = WORDS.get(str(phase).lower()) if phase else None
    found = found or of_conditions(status.get("conditions") or []) or of_replicated_jobs(status)
    kind, reason = found or (RunPhase.STARTING, f"its controller says {phase}" if phase else "")
    message = _message(status) if kind is RunPhase.FAILED else reason
    return RunStatus(kind, message, name, failure=Failure.USER)


def of_conditions(conditions: Iterable[Mapping[str, Json]]) -> tuple[RunPhase, str] | None:
    """The state that the true conditions amount to; None where they say none."""
    true = {WORDS.get(str(each.get("type")).lower()) for each in conditions if each.get("status") == "True"}
    return next((state for state in _PRECEDENCE if state in true), None)


def of_replicated_jobs(status: Mapping[str, Json]) -> tuple[RunPhase, str] | None:
    """JobSet's: one ready replica makes it running, one active makes it starting."""
    jobs = status.get("replicatedJobsStatus") or status.get("ReplicatedJobsStatus") or []
    jobs = [jobs] if isinstance(jobs, Mapping) else jobs
    if any((job.get("ready") or 0) >= 1 for job in jobs):
        return (RunPhase.RUNNING, "")
    if any((job.get("active") or 0) >= 1 for job in jobs):
        return (RunPhase.STARTING, "")
    return None


def _message(status: Mapping[str, Json]) -> str:
    told = [
        str(each.get("message") or each.get("reason") or "")
        for each in status.get("conditions") or []
        if each.get("status") == "True" and of_conditions([each]) == (RunPhase.FAILED, "")
    ]
    return next(filter(None, told), "") or "its controller says it failed"
