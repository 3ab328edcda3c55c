"""One training job of the stand-in: what was asked for, how it goes, and how it is shown.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MESSAGES = {
    "Starting": "Starting the training job",
    "Pending": "Waiting for capacity",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "The training job was interrupted",
    "Restarting": "Restarting the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
OVER = frozenset({"Completed", "Failed", "Stopped"})
_NOT_SHOWN = frozenset({"Tags", "SessionChainingConfig"})
"""Of a request, what DescribeTrainingJob does not give back."""
_OF_EVENT = (
    *("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "FailureReason", "HyperParameters"),
    *("AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "VpcConfig"),
    *("StoppingCondition", "ModelArtifacts"),
)
_TIMES = ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime")


@dataclass
class Job:
    """Times are seconds since the Unix epoch."""

    request: Mapping[str, Any]
    arn: str
    created: float
    status: str = ""
    secondary: str = ""
    reason: str = ""
    ending: str = "Stopped"
    """The secondary status with which it will have stopped."""
    modified: float = 0.0
    started: float | None = None
    ended: float | None = None
    transitions: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.request["TrainingJobName"])

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def instances(self) -> Mapping[str, int]:
        """Instance type → how many."""
        config = self.request["ResourceConfig"]
        groups = config.get("InstanceGroups") or [config]
        return {group["InstanceType"]: group["InstanceCount"] for group in groups}

    def move(self, status: str, secondary: str, at: float, reason: str = "") -> None:
        if self.transitions:
            self.transitions[-1]["EndTime"] = at
        self.transitions.append(
            {"Status": secondary, "StartTime": at, "StatusMessage": reason or MESSAGES.get(secondary, "")}
        )
        self.status, self.secondary, self.reason, self.modified = status, secondary, reason, at
        if secondary == "Training" and self.started is None:
            self.started = at
        if self.over:
            self.transitions[-1]["EndTime"] = at
            self.ended = at

    def description(self) -> dict[str, Any]:
        """The answer of DescribeTrainingJob."""
        place = self.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        known = {
            **{name: value for name, value in self.request.items() if name not in _NOT_SHOWN},
            "TrainingJobArn": self.arn,
            "ModelArtifacts": {"S3ModelArtifacts": f"{place}/{self.name}/output/model.tar.gz"},
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary,
            "FailureReason": self.reason or None,
            "CreationTime": self.created,
            "TrainingStartTime": self.started,
            "TrainingEndTime": self.ended,
            "LastModifiedTime": self.modified,
            "SecondaryStatusTransitions": [dict(each) for each in self.transitions],
            "FinalMetricDataList": self.metrics or None,
            "TrainingTimeInSeconds": _whole(self.started, self.ended),
            "BillableTimeInSeconds": _whole(self.started, self.ended),
        }
        return {name: value for name, value in known.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """A line of ListTrainingJobs."""
        wanted = ("TrainingJobName", "TrainingJobArn", *_TIMES[:1], *_TIMES[2:], "TrainingJobStatus", "SecondaryStatus")
        return {name: value for name, value in self.description().items() if name in wanted}

    def record(self) -> dict[str, Any]:
        """A result of Search, which has the tags."""
        left_out = ("RemoteDebugConfig", "InfraCheckConfig", "ServerlessJobConfig", "MlflowConfig")
        shown = {name: value for name, value in self.description().items() if name not in left_out}
        return {**shown, "Tags": self.tag_list()}

    def tag_list(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def event(self, account: str, region: str) -> dict[str, Any]:
        """As EventBridge tells a change of it. The times in `detail` are milliseconds.
        https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html"""
        shown = self.description()
        detail = {name: shown[name] for name in _OF_EVENT if name in shown}
        detail |= {name: int(shown[name] * 1000) for name in _TIMES if name in shown}
        detail["SecondaryStatusTransitions"] = [
            {name: int(value * 1000) if name.endswith("Time") else value for name, value in each.items()}
            for each in self.transitions
        ]
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "SageMaker Training Job State Change",
            "source": "aws.sagemaker",
            "account": account,
            "time": datetime.fromtimestamp(self.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": region,
            "resources": [self.arn],
            "detail": {**detail, "Tags": dict(self.tags)},
        }


def _whole(begun: float | None, ended: float | None) -> int | None:
    return None if begun is None or ended is None else max(1, round(ended - begun))
