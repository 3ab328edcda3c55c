"""The state of a SageMaker training job as a run's (S17).

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html: InProgress, Completed, Failed,
Stopping, Stopped, Deleting. W&B Launch takes Stopped for a success.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from slipway.errors import Temporary
from slipway.model import Failure, Json, RunPhase, RunStatus

PREEMPTED = ("MaxWaitTimeExceeded", "Interrupted")
"""Secondary states of a managed spot job that ended for want of capacity."""
INFRASTRUCTURE = ("InternalServerError", "CapacityError")
"""How `FailureReason` begins where the job's own code is not at fault."""
CONFIGURATION = ("ClientError",)
"""How it begins where SageMaker could not do what the request said: no such data, no such image, no right to either.
https://docs.aws.amazon.com/sagemaker/latest/dg/troubleshooting.html"""
_STARTED = ("Training", "Uploading", "Interrupted", "Restarting", "Updating")
"""Secondary states of a job that has been running."""
_EXIT_CODE = re.compile(r"exit code: (\d+)", re.IGNORECASE)


def run_status(job: Mapping[str, Json]) -> RunStatus:
    """Of the answer of DescribeTrainingJob. Raises Temporary for a word that AWS does not document."""
    word, secondary = job.get("TrainingJobStatus"), job.get("SecondaryStatus")
    name, metrics = job.get("TrainingJobName"), _metrics(job)
    match word:
        case "InProgress" if secondary in _STARTED:
            return RunStatus(RunPhase.RUNNING, str(secondary), name)
        case "InProgress":
            return RunStatus(RunPhase.STARTING, str(secondary or ""), name)
        case "Stopping":
            return RunStatus(RunPhase.RUNNING, "stopping", name)
        case "Completed" | "Deleting":
            return RunStatus(RunPhase.FINISHED, "", name, exit_code=0, metrics=metrics)
        case "Stopped" if secondary == "MaxRuntimeExceeded":
            reason = "it ran for longer than its StoppingCondition allows"
            return RunStatus(RunPhase.FAILED, reason, name, metrics=metrics)
        case "Stopped" if secondary in PREEMPTED:
            return RunStatus(RunPhase.PREEMPTED, str(secondary), name, metrics=metrics)
        case "Stopped":
            return RunStatus(RunPhase.STOPPED, "", name, metrics=metrics)
        case "Failed":
            return _failed(str(job.get("FailureReason") or ""), name, metrics)
    raise Temporary(f"SageMaker says '{word}' of {name}, a word that it does not document")


def log_lines(events: Sequence[Mapping[str, Json]]) -> list[str]:
    """What the job wrote, of the events of its log streams: as on every other backend, without CloudWatch's times."""
    return [str(event.get("message", "")).rstrip("\n") for event in events]


def _failed(reason: str, name: str | None, metrics: Mapping[str, Json]) -> RunStatus:
    """SageMaker's own sentence is the reason; its first word says whose fault it was."""
    fault = Failure.USER
    if reason.startswith(INFRASTRUCTURE):
        fault = Failure.INFRASTRUCTURE
    elif reason.startswith(CONFIGURATION):
        fault = Failure.CONFIGURATION
    # The words before it are the job's own, and may speak of another.
    codes = _EXIT_CODE.findall(reason)
    code = int(codes[-1]) if codes else None
    words = reason or "SageMaker gave no reason"
    return RunStatus(RunPhase.FAILED, words, name, exit_code=code, metrics=metrics, failure=fault)


def _metrics(job: Mapping[str, Json]) -> dict[str, Json]:
    """Those of `AlgorithmSpecification.MetricDefinitions`, which SageMaker reads from the log: their last values.
    Numbers that JSON does not have become their names."""
    told = job.get("FinalMetricDataList") or []
    return {str(each.get("MetricName")): _number(each.get("Value")) for each in told}


def _number(value: Json) -> Json:
    return value if not isinstance(value, float) or math.isfinite(value) else _name_of(value)


def _name_of(value: float) -> str:
    """`NaN`, `Infinity` or `-Infinity`."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
