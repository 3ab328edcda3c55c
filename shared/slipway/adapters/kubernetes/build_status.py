"""What a build's Job, its pods, their events and its log amount to: a phase, and a reason that names the cure. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from slipway.adapters.kubernetes.build_jobs import IMAGE
from slipway.model import BuildPhase, BuildStatus, Json
from slipway.render.build_job import Flavour
from slipway.status import pods as words
from slipway.status.pods import Event, Pod

IN_LINE = "the cluster has the build, and has not begun it yet"
_DEADLINE = "DeadlineExceeded"
_NEVER: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(r'serviceaccount "(?P<name>[^"]+)" not found'),
        "Make the service account {name} in the namespace {namespace}, or name another: spec.template.spec."
        "serviceAccountName in builder.{fragment}",
    ),
    (
        re.compile(r"violates PodSecurity"),
        "Builds run as root of their own container, with a few capabilities: let the namespace {namespace} have the "
        "pod security level baseline, or build in another",
    ),
)
"""Why the cluster makes no pod, where waiting does not help, and what does."""
_REFUSED = re.compile(r"(?i)\b40[13]\b|unauthori[sz]ed|forbidden|denied|authentication required|no basic auth")
_PUSH = re.compile(r"(?i)push permission|pushing image|failed to push|image cannot be pushed")
_CONTEXT = re.compile(r"(?i)resolving source context|the context \S+ cannot be (?:read|unpacked)")
_ADDRESS = re.compile(r"(https?://[^\s\"'?]+)\?[^\s\"']+")


def build_status(
    job: Mapping[str, Json],
    flavour: Flavour,
    pods: Sequence[Pod] = (),
    events: Iterable[Event] = (),
    tail: Sequence[str] = (),
) -> BuildStatus:
    """`events` are of the Job, or of a pod of it that has not begun; `tail` is the end of its log, of a failed one."""
    name = build_id(job)
    if succeeded(job):
        return BuildStatus(BuildPhase.SUCCEEDED, name)
    if (failed := _condition(job, "Failed")) is not None:
        lines = [_without_right(line) for line in tail]
        return BuildStatus(BuildPhase.FAILED, name, _why(job, flavour, failed, pods, lines), "\n".join(lines))
    if words.begun(pods):
        return BuildStatus(BuildPhase.RUNNING, name)
    troubles = words.troubles(pods, events)
    for trouble in troubles if not pods else ():
        if (cure := _never(trouble, job, flavour)) is not None:
            return BuildStatus(BuildPhase.FAILED, name, f"the cluster makes no pod for it: {trouble}. {cure}")
    return BuildStatus(BuildPhase.QUEUED, name, "; ".join(troubles) or IN_LINE)


def build_id(job: Mapping[str, Json]) -> str:
    return f"{job['metadata']['namespace']}/{job['metadata']['name']}"


def succeeded(job: Mapping[str, Json]) -> bool:
    return _condition(job, "Complete") is not None


def over(job: Mapping[str, Json]) -> bool:
    return succeeded(job) or _condition(job, "Failed") is not None


def _condition(job: Mapping[str, Json], kind: str) -> Mapping[str, Json] | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind and each.get("status") == "True"), None)


def _why(
    job: Mapping[str, Json], flavour: Flavour, failed: Mapping[str, Json], pods: Sequence[Pod], tail: Sequence[str]
) -> str:
    troubles = words.troubles(pods)
    if failed.get("reason") == _DEADLINE or any((pod.get("status") or {}).get("reason") == _DEADLINE for pod in pods):
        return _too_late(job, flavour, failed, troubles)
    ended = words.ending(pods)
    said = ended.reason if ended else str(failed.get("message") or failed.get("reason") or "its Job failed")
    if not pods:
        said = f"{said}; its pod is gone, and its log with it"
    cure = _cure(job, tail) if ended is not None and not ended.preempted else "Submit again"
    return f"{said}. {cure}" if cure else said


def _too_late(job: Mapping[str, Json], flavour: Flavour, failed: Mapping[str, Json], troubles: Sequence[str]) -> str:
    whole = failed.get("reason") == _DEADLINE
    where = "spec" if whole else "spec.template.spec"
    limit = (job["spec"] if whole else job["spec"]["template"]["spec"]).get("activeDeadlineSeconds")
    said = f"it was not done within {limit} s ({_DEADLINE})"
    if troubles:
        return f"{said}: {'; '.join(troubles)}"
    return f"{said}. Raise {where}.activeDeadlineSeconds in builder.{flavour.fragment}"


def _cure(job: Mapping[str, Json], tail: Sequence[str]) -> str:
    """What the end of a log says of who or what was refused."""
    text = "\n".join(tail)
    if _CONTEXT.search(text):
        return (
            "Its context cannot be read: see to it that the build's pods may read the bucket (or mount the claim) that "
            "build-context-store names; a right that was handed to a pod ends after a day"
        )
    if _PUSH.search(text) and _REFUSED.search(text):
        image = ((job["metadata"].get("annotations") or {}).get(IMAGE) or "").rpartition(":")[0]
        return (
            f"The registry does not let it push to {image}: check the login that builds get, and that it may push there"
        )
    return ""


def _never(trouble: str, job: Mapping[str, Json], flavour: Flavour) -> str | None:
    for pattern, cure in _NEVER:
        if match := pattern.search(trouble):
            facts = {"namespace": job["metadata"]["namespace"], "fragment": flavour.fragment}
            return cure.format(**facts, **match.groupdict())
    return None


def _without_right(line: str) -> str:
    """The query of an address may be a right to read what is there."""
    return _ADDRESS.sub(r"\1?…", line)
