"""One build of the CodeBuild stand-in: its phases, and how AWS shows it in an answer and in an event.

https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html for the phases,
https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications-ref.html for the event.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.standins.aws.moto_server import ACCOUNT, REGION

PHASES = (
    *("SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD"),
    *("UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"),
)
COMMAND_FAILED = "COMMAND_EXECUTION_ERROR"


@dataclass(frozen=True)
class Project:
    """A build project; what a template would say of it."""

    name: str
    image: str = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
    compute_type: str = "BUILD_GENERAL1_SMALL"
    privileged: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 60
    """Minutes that a build may take."""
    queued_timeout: int = 480
    """Minutes that it may be in line."""
    concurrent_limit: int | None = None
    """Builds at once beyond which StartBuild is refused; None lets them wait."""

    @property
    def arn(self) -> str:
        return f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{self.name}"


@dataclass
class _Phase:
    kind: str
    started: float
    ended: float | None = None
    status: str | None = None
    contexts: tuple[tuple[str, str], ...] = ()
    """Code and message of what went wrong."""


class Build:
    """Begins in line. Whoever changes it holds the stand-in's lock."""

    def __init__(self, project: Project, order: Mapping[str, Any], number: int, now: float) -> None:
        self.project, self.order, self.number, self.started = project, order, number, now
        self.stream = str(uuid.uuid4())
        self.id = f"{project.name}:{self.stream}"
        self.arn = f"arn:aws:codebuild:{REGION}:{ACCOUNT}:build/{self.id}"
        self.group = f"/aws/codebuild/{project.name}"
        self.status = "IN_PROGRESS"
        self.phases = [_Phase("SUBMITTED", now, now, "SUCCEEDED"), _Phase("QUEUED", now)]

    @property
    def over(self) -> bool:
        return self.status != "IN_PROGRESS"

    @property
    def phase(self) -> str:
        return self.phases[-1].kind

    @property
    def phase_started(self) -> float:
        return self.phases[-1].started

    @property
    def variables(self) -> dict[str, str]:
        """The project's, and over them what StartBuild said."""
        given = {each["name"]: each["value"] for each in self.order.get("environmentVariablesOverride", [])}
        return {**self.project.variables, **given}

    @property
    def buildspec(self) -> str:
        return str(self.order.get("buildspecOverride", ""))

    @property
    def source(self) -> dict[str, str]:
        kind, place = self.order.get("sourceTypeOverride", "NO_SOURCE"), self.order.get("sourceLocationOverride", "")
        return {"type": kind, "location": place}

    def enter(self, phase: str, now: float) -> None:
        """The phase before it ends well, and so do those between, in no time."""
        for kind in PHASES[PHASES.index(self.phase) + 1 : PHASES.index(phase) + 1]:
            self._leave("SUCCEEDED", now)
            self.phases.append(_Phase(kind, now))

    def end(self, status: str, now: float, message: str, code: str) -> None:
        """Its phase ends so, and it with it. After a command failed, artefacts are uploaded all the same."""
        failed_in = self.phase
        if status == "SUCCEEDED":
            self.enter("COMPLETED", now)
        else:
            self._leave(status, now, ((code, message),) if message else ())
            uploads = status == "FAILED" and failed_in in PHASES[4:8]
            for kind in ("UPLOAD_ARTIFACTS", "FINALIZING") if uploads else ():
                self.phases.append(_Phase(kind, now, now, "SUCCEEDED"))
            self.phases.append(_Phase("COMPLETED", now))
        self.status = status

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        logs = {"groupName": self.group, "streamName": self.stream} if self._provisioned else {}
        return {
            "id": self.id,
            "arn": self.arn,
            "buildNumber": self.number,
            "startTime": self.started,
            **({"endTime": self.phases[-1].started} if self.over else {}),
            "currentPhase": self.phase,
            "buildStatus": self.status,
            "projectName": self.project.name,
            "phases": [_shown(phase) for phase in self.phases],
            "source": {**self.source, "buildspec": self.buildspec},
            "artifacts": {"location": ""},
            "cache": {"type": "NO_CACHE"},
            "environment": {
                "type": "LINUX_CONTAINER",
                "image": self.project.image,
                "computeType": self.order.get("computeTypeOverride", self.project.compute_type),
                "environmentVariables": [
                    {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in self.variables.items()
                ],
                "privilegedMode": self.order.get("privilegedModeOverride", self.project.privileged),
            },
            "logs": {**logs, "deepLink": f"https://console.aws.amazon.com/cloudwatch/home?region={REGION}"},
            "timeoutInMinutes": self.project.timeout,
            "queuedTimeoutInMinutes": self.project.queued_timeout,
            "buildComplete": self.over,
            "initiator": "slipway-build/session",
        }

    def event(self, now: float) -> dict[str, Any]:
        """The envelope that EventBridge would deliver now."""
        shown = self.shown()
        environment = shown["environment"]
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "CodeBuild Build State Change",
            "source": "aws.codebuild",
            "account": ACCOUNT,
            "time": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": [self.arn],
            "detail": {
                "build-status": self.status,
                "project-name": self.project.name,
                "build-id": self.arn,
                "additional-information": {
                    "artifact": {"location": ""},
                    "environment": {
                        "image": environment["image"],
                        "privileged-mode": environment["privilegedMode"],
                        "compute-type": environment["computeType"],
                        "type": environment["type"],
                        "environment-variables": environment["environmentVariables"],
                    },
                    "timeout-in-minutes": float(self.project.timeout),
                    "build-complete": self.over,
                    "build-number": float(self.number),
                    "initiator": shown["initiator"],
                    "build-start-time": _worded(self.started),
                    "source": self.source,
                    "logs": {
                        "group-name": self.group,
                        "stream-name": self.stream,
                        "deep-link": shown["logs"]["deepLink"],
                    },
                    "phases": [_told(phase) for phase in self.phases],
                },
                "current-phase": self.phase,
                "current-phase-context": "[]",
                "version": "1",
            },
        }

    @property
    def _provisioned(self) -> bool:
        return any(phase.kind == "PROVISIONING" for phase in self.phases)

    def _leave(self, status: str, now: float, contexts: tuple[tuple[str, str], ...] = ()) -> None:
        last = self.phases[-1]
        last.ended, last.status, last.contexts = now, status, contexts


def _shown(phase: _Phase) -> dict[str, Any]:
    begun: dict[str, Any] = {"phaseType": phase.kind, "startTime": phase.started}
    if phase.ended is None:
        return begun
    return {
        **begun,
        "endTime": phase.ended,
        "phaseStatus": phase.status,
        "durationInSeconds": round(phase.ended - phase.started),
        "contexts": [{"statusCode": code, "message": message} for code, message in phase.contexts or [("", "")]],
    }


def _told(phase: _Phase) -> dict[str, Any]:
    begun = {"phase-type": phase.kind, "start-time": _worded(phase.started)}
    if phase.ended is None:
        return begun
    return {
        **begun,
        "phase-context": [f"{code}: {message}" for code, message in phase.contexts],
        "end-time": _worded(phase.ended),
        "duration-in-seconds": float(round(phase.ended - phase.started)),
        "phase-status": phase.status,
    }


def _worded(seconds: float) -> str:
    """`Sep 1, 2017 4:12:29 PM`."""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%b} {at.day}, {at.year} {at.hour % 12 or 12}:{at:%M:%S} {'AM' if at.hour < 12 else 'PM'}"
