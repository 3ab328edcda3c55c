"""The state of a SageMaker training job as a run's (S17).

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html: InProgress, Completed, Failed,
Stopping, Stopped, Deleting. W&B Launch takes Stopped for a success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slipway.errors import Temporary
from slipway.model import Failure, Json, RunPhase, RunStatus

PREEMPTED = ("MaxWaitTimeExceeded", "Interrupted")
"""Secondary states of a managed spot job that ended for want of capacity."""
INFRASTRUCTURE = ("InternalServerError", "CapacityError")
"""How `FailureReason` begins where the job's own code is not at fault."""


_STARTED = ("Training", "Uploading", "Interrupted", "Restarting", "Updating")
"""Secondary states of a job that has been running."""


def run_status(job: Mapping[str, Json]) -> RunStatus:
    """Of the answer of DescribeTrainingJob. Raises Temporary for a word that AWS does not document."""
    word, secondary = job.get("TrainingJobStatus"), job.get("SecondaryStatus")
    reason = str(job.get("FailureReason") or "")
    name = job.get("TrainingJobName")
    match word:
        case "InProgress" if secondary in _STARTED:
            return RunStatus(RunPhase.RUNNING, str(secondary), name)
        case "InProgress":
            return RunStatus(RunPhase.STARTING, str(secondary or ""), name)
        case "Stopping":
            return RunStatus(RunPhase.RUNNING, "stopping", name)
        case "Completed" | "Deleting":
            return RunStatus(RunPhase.FINISHED, "", name)
        case "Stopped" if secondary == "MaxRuntimeExceeded":
            return RunStatus(RunPhase.FAILED, "it ran for longer than its StoppingCondition allows", name)
        case "Stopped" if secondary in PREEMPTED:
            return RunStatus(RunPhase.PREEMPTED, str(secondary), name)
        case "Stopped":
            return RunStatus(RunPhase.STOPPED, "", name)
        case "Failed":
            fault = Failure.INFRASTRUCTURE if reason.startswith(INFRASTRUCTURE) else Failure.USER
            return RunStatus(RunPhase.FAILED, reason or "SageMaker gave no reason", name, failure=fault)
    raise Temporary(f"SageMaker says '{word}' of {name}, a word that it does not document")


def log_lines(events: Sequence[Mapping[str, Json]]) -> list[str]:
    """What the job wrote, of the events of its log streams: as on every other backend, without CloudWatch's times."""
    return [str(event.get("message", "")).rstrip("\n") for event in events]
