"""What CodeBuild says of one build, as a build's status; total over the words that AWS documents.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_Build.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slipway.adapters.aws.buildspec import ATTEMPT, IMAGE
from slipway.errors import Temporary
from slipway.model import BuildPhase, BuildStatus, Json

QUEUED = "in line at CodeBuild, which runs as many builds at once as this account's quota allows"

_WAITING = ("SUBMITTED", "QUEUED")


def build_status(build: Mapping[str, Json]) -> BuildStatus:
    """Of one of the builds in an answer of BatchGetBuilds, without its log. Raises Temporary for a status that AWS does
    not document."""
    word, name = build.get("buildStatus"), build.get("id")
    match word:
        case "IN_PROGRESS" if build.get("currentPhase") in _WAITING:
            return BuildStatus(BuildPhase.QUEUED, name, QUEUED)
        case "IN_PROGRESS":
            return BuildStatus(BuildPhase.RUNNING, name, str(build.get("currentPhase") or "").lower())
        case "SUCCEEDED":
            return BuildStatus(BuildPhase.SUCCEEDED, name)
        case "FAILED":
            return BuildStatus(BuildPhase.FAILED, name, _failed_phase(build) or "CodeBuild gave no reason")
        case "FAULT":
            return BuildStatus(BuildPhase.FAILED, name, _joined("a fault of CodeBuild's own", _failed_phase(build)))
        case "TIMED_OUT":
            return BuildStatus(BuildPhase.FAILED, name, _joined(_timeout(build), _failed_phase(build)))
        case "STOPPED":
            return BuildStatus(BuildPhase.FAILED, name, "somebody stopped it at CodeBuild")
    raise Temporary(f"CodeBuild says '{word}' of {name}, a word that it does not document")


def is_of(build: Mapping[str, Json], image: str, attempt: int) -> bool:
    """Whether it was started for this image and attempt."""
    given = {
        each.get("name"): each.get("value") for each in build.get("environment", {}).get("environmentVariables", [])
    }
    return given.get(IMAGE) == image and given.get(ATTEMPT) == str(attempt)


def log_place(build: Mapping[str, Json]) -> tuple[str, str] | None:
    """CloudWatch's group and stream of its log; None before it has one."""
    logs = build.get("logs", {})
    group, stream = logs.get("groupName"), logs.get("streamName")
    return (group, stream) if group and stream else None


def log_lines(events: Sequence[Mapping[str, Json]]) -> list[str]:
    """An event may be several lines, each with its end."""
    return [
        line.rstrip("\r") for event in events for line in str(event.get("message", "")).removesuffix("\n").split("\n")
    ]


def _failed_phase(build: Mapping[str, Json]) -> str:
    """`BUILD: Error while executing command: …`, of the first phase that went wrong; "" when it does not say."""
    for phase in build.get("phases", []):
        if phase.get("phaseStatus", "SUCCEEDED") in ("SUCCEEDED", "IN_PROGRESS"):
            continue
        told = [context.get("message") or context.get("statusCode") for context in phase.get("contexts", [])]
        return _joined(str(phase.get("phaseType", "")), " ".join(word for word in told if word))
    return ""


def _timeout(build: Mapping[str, Json]) -> str:
    queued = any(
        (phase.get("phaseType"), phase.get("phaseStatus")) == ("QUEUED", "TIMED_OUT")
        for phase in build.get("phases", [])
    )
    if queued:
        return (
            f"it was in line for longer than the {build.get('queuedTimeoutInMinutes')} minutes that its project allows"
        )
    return f"it took longer than the {build.get('timeoutInMinutes')} minutes that its project allows"


def _joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
