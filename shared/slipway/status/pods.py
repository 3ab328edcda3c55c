"""What pods and their events tell of a run, in words: why it waits, why it failed, and whose fault that is.

A Job's conditions say that it failed, and hardly ever why; the reason stands in its pods: a scheduler's message, a
container's state, the mark that a disruption left. The words are those of
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and
https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slipway.model import Failure, Json

Pod = Mapping[str, Json]
Event = Mapping[str, Json]

WAITING: Mapping[str, str] = {
    "ErrImagePull": "the image cannot be pulled",
    "ImagePullBackOff": "the image cannot be pulled, and is tried again ever more rarely",
    "ErrImageNeverPull": "the image is not on the node, and imagePullPolicy is Never",
    "InvalidImageName": "the image's name is none",
    "ImageInspectError": "the node cannot read the image",
    "RegistryUnavailable": "the image's registry does not answer",
    "CreateContainerConfigError": "a Secret, a ConfigMap or a key of one is missing",
    "CreateContainerError": "the node cannot make the container",
    "RunContainerError": "the node cannot start the container",
    "CrashLoopBackOff": "the container ends again and again, and is started again ever more rarely",
}
"""Why a container waits, where it is not just on its way. https://kubernetes.io/docs/concepts/containers/images/"""
ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
DISRUPTED: Mapping[str, str] = {
    "PreemptionByScheduler": "it made room for a pod of a higher priority",
    "DeletionByTaintManager": "its node was tainted",
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node was short of something, or was shut down",
}
"""Reasons of the condition DisruptionTarget, of Kubernetes 1.26 and later."""
EVICTED = frozenset({"Evicted", "Preempting", "Preempted", "NodeShutdown", "NodeLost", "Terminated", "Shutdown"})
"""A pod's own `status.reason`, where an older cluster or its kubelet says the same."""
DISRUPTIONS: Mapping[str, str] = {
    "Preempted": DISRUPTED["PreemptionByScheduler"],
    "TaintManagerEviction": DISRUPTED["DeletionByTaintManager"],
    "Evicted": "its node was short of something",
}
"""Reasons of events about pods that are gone since."""
WARNINGS = frozenset(
    {"FailedCreate", "FailedMount", "FailedAttachVolume", "FailedToRetrieveImagePullSecret", "FailedCreatePodSandBox"}
)
"""Reasons of events that tell what no pod's status does: of pods that a quota refuses, of volumes, of pull secrets."""
SIGNAL = 128
"""An exit code above it is a signal's number, added to this."""
CANNOT_RUN = frozenset({"ContainerCannotRun", "StartError"})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run's pods say that it failed."""

    reason: str
    exit_code: int | None = None
    failure: Failure = Failure.USER
    preempted: bool = False


def troubles(pods: Iterable[Pod], events: Iterable[Event] = ()) -> tuple[str, ...]:
    """What keeps a run from going on, each thing once: of its pods, and of the events of what belongs to it."""
    found = [told for pod in pods for told in _troubles(pod)]
    found += [told for event in events if (told := _of_event(event))]
    return tuple(dict.fromkeys(found))


def begun(pods: Iterable[Pod]) -> bool:
    """Whether a container of the run itself has been started."""
    return any(
        (state.get("running") or state.get("terminated") or each.get("restartCount"))
        for pod in pods
        for each in (pod.get("status") or {}).get("containerStatuses") or []
        for state in [each.get("state") or {}]
    )


def ending(pods: Sequence[Pod], events: Iterable[Event] = ()) -> Ending | None:
    """Why it failed, of the pod that says most; None where none says anything. A disruption goes over what the
    container itself said: a program that is ended for its node's sake says that it was ended, and not why."""
    for pod in pods:
        if (why := _disruption(pod)) is not None:
            return _disrupted(_name(pod), why)
    for event in events:
        if (why := DISRUPTIONS.get(str(event.get("reason")))) is not None:
            return _disrupted(f"pod {(event.get('involvedObject') or {}).get('name')}", _and(why, event.get("message")))
    found = [ended for pod in pods for ended in _failed_containers(pod)]
    # The first that failed: the others often follow from it.
    return min(found, key=lambda each: each[0])[1] if found else _of_whole_pods(pods)


def _disrupted(who: str, why: str) -> Ending:
    return Ending(f"{who} was disrupted: {why}", failure=Failure.INFRASTRUCTURE, preempted=True)


def _of_whole_pods(pods: Sequence[Pod]) -> Ending | None:
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase") == "Failed":
            said = str(status.get("message") or status.get("reason") or "Kubernetes gave no reason")
            deadline = status.get("reason") == "DeadlineExceeded"
            return Ending(f"{_name(pod)} failed: {said}", failure=Failure.USER if deadline else Failure.INFRASTRUCTURE)
    return None


def _disruption(pod: Pod) -> str | None:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = str(condition.get("reason") or "")
            return _and(DISRUPTED.get(reason, reason or "Kubernetes gave no reason"), condition.get("message"))
    if status.get("phase") == "Failed" and status.get("reason") in EVICTED:
        return _and(str(status["reason"]), status.get("message"))
    return None


def _failed_containers(pod: Pod) -> Iterator[tuple[str, Ending]]:
    """When it ended, and how."""
    for each in _containers(pod):
        state, last = each.get("state") or {}, each.get("lastState") or {}
        # One that waits to be started again has its end in `lastState`.
        ended = state.get("terminated") or (last.get("terminated") if state.get("waiting") else None) or {}
        code = ended.get("exitCode")
        if not ended or code == 0:
            continue
        where = f"container {each.get('name')} of {_name(pod)}"
        yield str(ended.get("finishedAt") or ""), Ending(_ended(where, ended), code, _fault(ended))


def _ended(where: str, ended: Mapping[str, Json]) -> str:
    code, reason = ended.get("exitCode"), str(ended.get("reason") or "")
    if reason == "OOMKilled":
        cure = "raise resources.limits.memory"
        return f"{where} used more memory than its limit, and was killed (OOMKilled): {cure}"
    if reason in CANNOT_RUN:
        return _and(f"{where} cannot run", ended.get("message"))
    said = f"{where} exited with code {code}"
    if isinstance(code, int) and code > SIGNAL:
        said = f"{said} (signal {code - SIGNAL})"
    return _and(said, ended.get("message"))


def _fault(ended: Mapping[str, Json]) -> Failure:
    return Failure.CONFIGURATION if ended.get("reason") in CANNOT_RUN else Failure.USER


def _troubles(pod: Pod) -> Iterator[str]:
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            # The scheduler's "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            yield _and(f"{_name(pod)} finds no node", condition.get("message") or condition.get("reason"))
    for each in _containers(pod):
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason in ON_ITS_WAY:
            continue
        why = f"{WAITING[reason]} ({reason})" if reason in WAITING else reason
        told = _and(f"container {each.get('name')} of {_name(pod)} waits: {why}", waiting.get("message"))
        ended = (each.get("lastState") or {}).get("terminated") or {}
        yield _and(told, _ended("it", ended)) if ended else told


def _of_event(event: Event) -> str | None:
    if event.get("type") != "Warning" or event.get("reason") not in WARNINGS:
        return None
    about = event.get("involvedObject") or {}
    return _and(f"{about.get('kind')} {about.get('name')}: {event['reason']}", event.get("message"))


def _containers(pod: Pod) -> list[Mapping[str, Json]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _name(pod: Pod) -> str:
    return f"pod {(pod.get('metadata') or {}).get('name')}"


def _and(said: str, more: Json) -> str:
    return f"{said}: {str(more).strip()}" if more else said
