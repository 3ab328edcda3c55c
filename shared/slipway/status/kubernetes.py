"""The state of a Kubernetes object as a run's: a Job's by its conditions, any other kind's by what its controller
reports, and of either what its pods and their events say beyond that.

A Job has ended when its conditions say so, whatever the number of its pods: W&B Launch waits for exactly one that
succeeded, and never sees a parallel Job finish. Of what controllers of other kinds write, the first of these that is
there and says a known word decides: `jobDeploymentStatus` with `jobStatus` (RayJob), `state.phase` (Volcano), `phase`
(Argo's Workflow, a Pod), `applicationState.state` (SparkApplication), `terminalState` (JobSet), `conditions` (Kubeflow,
JobSet, TrainJob), `replicatedJobsStatus` (JobSet) or `jobsStatus` (TrainJob). A verdict goes over conditions: Argo's
`Completed` is true of a workflow that failed too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from slipway.model import Failure, Json, RunPhase, RunStatus
from slipway.status import pods as words
from slipway.status.pods import Event, Pod

State = tuple[RunPhase, str]
"""A phase, and the reason that goes with it."""
_STOPPING = (RunPhase.RUNNING, "stopping")
WORDS: Mapping[str, State] = {
    **dict.fromkeys(("created", "pending", "inqueue", "queued", "suspended"), (RunPhase.STARTING, "")),
    **dict.fromkeys(("initializing", "waiting", "submitted", "suspending", "resuming"), (RunPhase.STARTING, "")),
    # Spark's operator tries to submit it again, and says FAILED once it does not.
    "submission_failed": (RunPhase.STARTING, ""),
    **dict.fromkeys(("running", "completing", "restarting"), (RunPhase.RUNNING, "")),
    **dict.fromkeys(("retrying", "pending_rerun", "invalidating", "succeeding", "failing"), (RunPhase.RUNNING, "")),
    # Of a pod or a driver that was heard of before.
    "unknown": (RunPhase.RUNNING, ""),
    **dict.fromkeys(("terminating", "aborting"), _STOPPING),
    **dict.fromkeys(("succeeded", "completed", "complete"), (RunPhase.FINISHED, "")),
    **dict.fromkeys(("failed", "aborted", "timeout", "terminated"), (RunPhase.FAILED, "")),
    **dict.fromkeys(("error", "stopped", "validationfailed"), (RunPhase.FAILED, "")),
}
"""What controllers call the states of a job, in lower case. The list is W&B's, and what Kubeflow, Volcano, JobSet, Argo
Workflows, KubeRay and Spark's operator document beyond it."""
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
    pods = [resource] if _is_pod(resource) and not pods else pods
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


def _is_pod(resource: Mapping[str, Json]) -> bool:
    return resource.get("kind") == "Pod" and resource.get("apiVersion") == "v1"


def of_events(events: Iterable[Event]) -> RunStatus:
    """Of an object that is gone, by the events that it left behind. `ttlSecondsAfterFinished` removes what is over, and
    that it is over must not be forgotten."""
    for event in events:
        about = event.get("involvedObject") or {}
        reason = str(event.get("reason") or "")
        phase = GONE.get(reason) if about.get("kind") == "Job" else None
        if phase is None and about.get("kind") != "Pod":
            phase = _of_event(str(about.get("kind")), reason)
        if phase is RunPhase.FINISHED:
            return RunStatus(phase, "", exit_code=0)
        if phase is RunPhase.FAILED:
            return RunStatus(phase, f"{event.get('message') or reason} (it was removed since, and its pods with it)")
    return RunStatus(RunPhase.ABSENT, certain=True)


def _of_event(kind: str, reason: str) -> RunPhase | None:
    """Operators name their kind first: PyTorchJobSucceeded. A word alone (Error) may be of anything on the way."""
    state = _known(reason.removeprefix(kind)) if reason.startswith(kind) else None
    return state[0] if state is not None else None


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
    phases = _phases(status)
    found = next((state for phase in phases if (state := _known(phase)) is not None), None)
    found = of_ray_job(status) or found or of_conditions(status.get("conditions") or []) or of_replicated_jobs(status)
    kind, reason = found or (RunPhase.STARTING, f"its controller says {phases[0]}" if phases else "")
    message = _message(status) if kind is RunPhase.FAILED else reason
    return RunStatus(kind, message, name, failure=Failure.USER)


def of_ray_job(status: Mapping[str, Json]) -> State | None:
    """KubeRay's. Whether it is over, its deployment says, as a job that failed may be tried again. How it went, the job
    says: a deployment is Complete when its job was stopped, too, and Running before its job has begun.
    https://ray-project.github.io/kuberay/reference/api/#rayjob"""
    deployment, job = _known(status.get("jobDeploymentStatus")), _known(status.get("jobStatus"))
    if deployment is None or job is None:
        return deployment or job
    if deployment[0] is RunPhase.FINISHED or (deployment[0] is RunPhase.RUNNING and job[0] is not RunPhase.FAILED):
        return job
    return deployment


def of_conditions(conditions: Iterable[Mapping[str, Json]]) -> State | None:
    """The state that the true conditions amount to; None where they say none."""
    true = {_known(each.get("type")) for each in conditions if each.get("status") == "True"}
    return next((state for state in _PRECEDENCE if state in true), None)


def of_replicated_jobs(status: Mapping[str, Json]) -> State | None:
    """JobSet's and TrainJob's: one ready replica, or one that is done, makes it running, one active makes it starting.
    A TrainJob has no condition for that it runs, and its operator makes pods that are not known to be ours."""
    jobs = status.get("replicatedJobsStatus") or status.get("ReplicatedJobsStatus") or status.get("jobsStatus") or []
    jobs = [jobs] if isinstance(jobs, Mapping) else jobs
    if any((job.get(count) or 0) >= 1 for job in jobs for count in ("ready", "succeeded")):
        return (RunPhase.RUNNING, "")
    if any((job.get("active") or 0) >= 1 for job in jobs):
        return (RunPhase.STARTING, "")
    return None


def _known(word: Json) -> State | None:
    return WORDS.get(str(word).lower())


def _phases(status: Mapping[str, Json]) -> list[str]:
    """What controllers write as the one state of it all, in the order in which it is believed."""
    said = (
        _inner(status, "state").get("phase"),
        status.get("phase"),
        _inner(status, "applicationState").get("state"),
        status.get("terminalState"),
        status.get("jobDeploymentStatus"),
    )
    return [str(each) for each in said if each]


def _inner(status: Mapping[str, Json], field: str) -> Mapping[str, Json]:
    found = status.get(field)
    return found if isinstance(found, Mapping) else {}


def _message(status: Mapping[str, Json]) -> str:
    """Why, in its controller's words: those beside the verdict, else those of the condition."""
    told = [
        str(each.get("message") or each.get("reason") or "")
        for each in status.get("conditions") or []
        if each.get("status") == "True" and of_conditions([each]) == (RunPhase.FAILED, "")
    ]
    beside = (_inner(status, "applicationState").get("errorMessage"), _inner(status, "state").get("message"))
    said = (status.get("message"), *beside, *told, status.get("reason"))
    return next((str(each) for each in said if each), "its controller says it failed")
