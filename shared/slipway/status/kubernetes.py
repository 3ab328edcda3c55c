"""The state of a Kubernetes object as a run's: a Job's by its counts, any other kind's by what its controller reports.

A Job has ended when its conditions say so, whatever the number of its pods: W&B Launch waits for exactly one that
succeeded, and never sees a parallel Job finish. Custom resources report in one of three ways: `status.state.phase`
(Volcano), `status.conditions` (Kubeflow), or `status.replicatedJobsStatus` (JobSet).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slipway.model import Failure, Json, RunPhase, RunStatus

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
