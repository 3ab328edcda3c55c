"""What pods and their events tell of a run, in words: why it waits, why it failed, and whose fault that is.

A Job's conditions say that it failed, and hardly ever why; the reason stands in its pods: a scheduler's message, a
container's state, the mark that a disruption left. The words are those of
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and
https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

from __future__ import annotations

import re
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
OWN_LIMITS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"(?i)usage of emptydir volume .* exceeds the limit"), "raise the volume's sizeLimit"),
    (
        re.compile(
            r"(?i)exceeded its local ephemeral storage limit|storage usage exceeds the total limit of containers"
        ),
        "raise resources.limits.ephemeral-storage",
    ),
)
"""Messages of a pod that was evicted for more than it may use itself, and the cure: its node has room.
https://kubernetes.io/docs/concepts/storage/ephemeral-storage/#resource-ephemeralstorage-consumption"""
SHOWN, LONGEST = 3, 1000
"""Different troubles that are told, and the characters that they have together, about."""
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
    """What keeps a run from going on: of its pods, and of the events of what belongs to it. Each thing once, with the
    number of pods that it is true of, and of many different things the first."""
    found: dict[str, list[_Trouble]] = {}
    for each in [*(told for pod in pods for told in _troubles(pod)), *_of_events(events)]:
        found.setdefault(each.alike, []).append(each)
    most = LONGEST // min(max(len(found), 1), SHOWN)
    shown = [_cut(alike[0].told(others=len(alike) - 1), most) for alike in list(found.values())[:SHOWN]]
    return (*shown, *([f"… and {len(found) - SHOWN} more"] if len(found) > SHOWN else []))


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
    containers themselves said: a program that is ended for its node's sake says that it was ended, and not why, and the
    others of its gang that they miss it. What a pod did that was made after it has nothing to do with it."""
    failed = [each for pod in pods for each in _failed(pod)]
    for when, ended in [*_disrupted_pods(pods), *_disrupted_of(events)]:
        if not when or all(each.made <= when for each in failed):
            return ended
    # The first that failed: the others often follow from it.
    return min(failed, key=lambda each: each.at).ending if failed else _of_whole_pods(pods)


@dataclass(frozen=True, slots=True)
class _Failed:
    """What failed by itself: when it ended, and when its pod was made. Times are as the API writes them, in UTC to the
    second, and empty where it does not say."""

    at: str
    made: str
    ending: Ending


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Who is in trouble, and in which. `pod` is what makes it different from what other pods say."""

    who: str
    what: str
    pod: Pod | None = None

    @property
    def alike(self) -> str:
        """The same for pods of which the same is said, where the node's words have the pod's own name in them."""
        metadata = (self.pod or {}).get("metadata") or {}
        said = f"{self.who} {self.what}"
        for own in filter(None, (metadata.get("name"), metadata.get("uid"))):
            said = said.replace(str(own), "")
        return said

    def told(self, others: int) -> str:
        also = f" (and {others} more {'pod' if others == 1 else 'pods'})" if others else ""
        return f"{self.who}{also}{self.what}"


def _disrupted(who: str, why: str) -> Ending:
    return Ending(f"{who} was disrupted: {why}", failure=Failure.INFRASTRUCTURE, preempted=True)


def _disrupted_pods(pods: Iterable[Pod]) -> Iterator[tuple[str, Ending]]:
    for pod in pods:
        if (found := _disruption(pod)) is not None:
            yield found[0], _disrupted(_name(pod), found[1])


def _disrupted_of(events: Iterable[Event]) -> Iterator[tuple[str, Ending]]:
    """Of pods that are gone, where theirs was the only word."""
    for event in events:
        if (why := DISRUPTIONS.get(str(event.get("reason")))) is None:
            continue
        who, when = f"pod {(event.get('involvedObject') or {}).get('name')}", str(event.get("lastTimestamp") or "")
        yield when, _over_limit(who, event.get("message")) or _disrupted(who, _and(why, event.get("message")))


def _over_limit(who: str, message: Json) -> Ending | None:
    for pattern, cure in OWN_LIMITS:
        if pattern.search(str(message or "")):
            return Ending(_and(f"{who} used more local storage than its limit, and was evicted: {cure}", message))
    return None


def _of_whole_pods(pods: Sequence[Pod]) -> Ending | None:
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase") == "Failed":
            said = str(status.get("message") or status.get("reason") or "Kubernetes gave no reason")
            deadline = status.get("reason") == "DeadlineExceeded"
            return Ending(f"{_name(pod)} failed: {said}", failure=Failure.USER if deadline else Failure.INFRASTRUCTURE)
    return None


def _disruption(pod: Pod) -> tuple[str, str] | None:
    """When it was disrupted, and why."""
    if _own_limit(pod) is not None:
        return None
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = str(condition.get("reason") or "")
            why = DISRUPTED.get(reason, reason or "Kubernetes gave no reason")
            return str(condition.get("lastTransitionTime") or ""), _and(why, condition.get("message"))
    if status.get("phase") == "Failed" and status.get("reason") in EVICTED:
        return "", _and(str(status["reason"]), status.get("message"))
    return None


def _own_limit(pod: Pod) -> Ending | None:
    status = pod.get("status") or {}
    return _over_limit(_name(pod), status.get("message")) if status.get("reason") == "Evicted" else None


def _failed(pod: Pod) -> Iterator[_Failed]:
    made = str((pod.get("metadata") or {}).get("creationTimestamp") or "")
    if (ended := _own_limit(pod)) is not None:
        # Its containers were ended for it.
        yield _Failed(min((at for at, _ in _failed_containers(pod)), default=""), made, ended)
    elif _disruption(pod) is None:
        for at, ended in _failed_containers(pod):
            yield _Failed(at, made, ended)


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


def _troubles(pod: Pod) -> Iterator[_Trouble]:
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            # The scheduler's "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            why = _and(" finds no node", condition.get("message") or condition.get("reason"))
            yield _Trouble(_name(pod), why, pod)
    for each in _containers(pod):
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason in ON_ITS_WAY:
            continue
        why = f"{WAITING[reason]} ({reason})" if reason in WAITING else reason
        told = _and(f" waits: {why}", waiting.get("message"))
        ended = (each.get("lastState") or {}).get("terminated") or {}
        what = _and(told, _ended("it", ended)) if ended else told
        yield _Trouble(f"container {each.get('name')} of {_name(pod)}", what, pod)


def _of_events(events: Iterable[Event]) -> Iterator[_Trouble]:
    told = [each for each in events if each.get("type") == "Warning" and each.get("reason") in WARNINGS]
    for who, what in dict.fromkeys((_who(each), _and(f": {each['reason']}", each.get("message"))) for each in told):
        yield _Trouble(who, what)


def _who(event: Event) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind')} {about.get('name')}"


def _containers(pod: Pod) -> list[Mapping[str, Json]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _name(pod: Pod) -> str:
    return f"pod {(pod.get('metadata') or {}).get('name')}"


def _and(said: str, more: Json) -> str:
    return f"{said}: {str(more).strip()}" if more else said


def _cut(said: str, most: int) -> str:
    return said if len(said) <= most else f"{said[: most - 1]}…"
