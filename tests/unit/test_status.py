"""What vendors say of a run, in Slipway's words: every documented state has a meaning, and no answer is a crash."""

from __future__ import annotations

import math
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import Temporary
from slipway.model import Failure, RunPhase, RunStatus
from slipway.status import kubernetes, sagemaker, vertex

ABSENT, STARTING, RUNNING, FINISHED, FAILED, STOPPED, PREEMPTED = RunPhase

# --- SageMaker


def _enum(shape: str) -> list[str]:
    model = botocore.session.Session().get_service_model("sagemaker")
    return list(model.shape_for(shape).enum)


@pytest.mark.parametrize(
    ("word", "secondary", "phase"),
    [
        ("InProgress", None, STARTING),
        *(("InProgress", each, STARTING) for each in ("Starting", "Pending", "LaunchingMLInstances", "Downloading")),
        *(("InProgress", each, STARTING) for each in ("PreparingTrainingStack", "DownloadingTrainingImage")),
        *(("InProgress", each, RUNNING) for each in ("Training", "Uploading", "Interrupted", "Restarting", "Updating")),
        ("Stopping", "Stopping", RUNNING),
        ("Completed", "Completed", FINISHED),
        ("Deleting", None, FINISHED),
        ("Failed", "Failed", FAILED),
        ("Stopped", "Stopped", STOPPED),
        ("Stopped", "MaxRuntimeExceeded", FAILED),
        ("Stopped", "MaxWaitTimeExceeded", PREEMPTED),
        ("Stopped", "Interrupted", PREEMPTED),
    ],
)
def test_every_state_of_a_training_job_has_a_meaning(word: str, secondary: str | None, phase: RunPhase) -> None:
    """S17."""
    told = {"TrainingJobName": "n", "TrainingJobStatus": word, "SecondaryStatus": secondary}
    status = sagemaker.run_status(told)
    assert (status.phase, status.backend_id) == (phase, "n")


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("InternalServerError: We encountered an internal error", Failure.INFRASTRUCTURE),
        ("CapacityError: Unable to provision", Failure.INFRASTRUCTURE),
        ("ClientError: Cannot pull algorithm container.", Failure.CONFIGURATION),
        ("AlgorithmError: ExecuteUserScriptError", Failure.USER),
        ("", Failure.USER),
    ],
)
def test_a_failure_of_a_training_job_says_whose_fault_it_is(reason: str, failure: Failure) -> None:
    status = sagemaker.run_status({"TrainingJobStatus": "Failed", "FailureReason": reason})
    assert status.failure is failure
    assert status.reason == (reason or "SageMaker gave no reason")


@given(st.text() | st.none(), st.text() | st.none(), st.text() | st.none())
def test_a_word_that_sagemaker_does_not_document_is_looked_at_again(word: Any, secondary: Any, reason: Any) -> None:
    told = {"TrainingJobStatus": word, "SecondaryStatus": secondary, "FailureReason": reason}
    if word not in ("InProgress", "Completed", "Failed", "Stopping", "Stopped", "Deleting"):
        with pytest.raises(Temporary, match="does not document"):
            sagemaker.run_status(told)


@pytest.mark.parametrize("word", _enum("TrainingJobStatus"))
@pytest.mark.parametrize("secondary", [None, *_enum("SecondaryStatus")])
def test_every_pair_of_words_of_awss_own_model_has_a_meaning(word: str, secondary: str | None) -> None:
    """Whatever SDK is installed: a new word of AWS's fails here, before it meets a run."""
    told = {"TrainingJobStatus": word, "SecondaryStatus": secondary}
    assert sagemaker.run_status(told).phase is not ABSENT


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("AlgorithmError: , exit code: 3", 3),
        ("AlgorithmError: Exit Code: 139", 139),
        ("AlgorithmError: the child had exit code: 7, exit code: 1", 1),
        ("InternalServerError: We encountered an internal error", None),
    ],
)
def test_the_exit_code_of_a_training_job_is_the_one_that_sagemaker_adds(reason: str, code: int | None) -> None:
    assert sagemaker.run_status({"TrainingJobStatus": "Failed", "FailureReason": reason}).exit_code == code


def test_a_completed_training_job_exited_with_zero_and_has_its_last_metrics() -> None:
    told = [
        {"MetricName": "loss", "Value": 0.25, "Timestamp": 1.0},
        *({"MetricName": str(value), "Value": value} for value in (math.inf, -math.inf, math.nan)),
    ]
    status = sagemaker.run_status({"TrainingJobStatus": "Completed", "FinalMetricDataList": told})
    assert status.exit_code == 0
    assert status.metrics == {"loss": 0.25, "inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def test_a_log_is_what_the_job_wrote() -> None:
    events = [{"timestamp": 1, "message": "a\n"}, {"message": "b"}, {}]
    assert sagemaker.log_lines(events) == ["a", "b", ""]


# --- Vertex AI


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        *(("QUEUED", STARTING), ("PENDING", STARTING), ("RUNNING", RUNNING), ("UPDATING", RUNNING)),
        *(("PAUSED", RUNNING), ("CANCELLING", RUNNING), ("SUCCEEDED", FINISHED), ("PARTIALLY_SUCCEEDED", FINISHED)),
        *(("FAILED", FAILED), ("EXPIRED", FAILED), ("CANCELLED", STOPPED)),
    ],
)
def test_every_state_of_a_custom_job_has_a_meaning(state: str, phase: RunPhase) -> None:
    """S18. W&B Launch calls all but four of them unknown."""
    assert vertex.run_status({"name": "n", "state": f"JOB_STATE_{state}"}).phase is phase


@pytest.mark.parametrize(
    ("error", "reason", "failure"),
    [
        ({"code": 8, "message": "no GPU"}, "no GPU", Failure.INFRASTRUCTURE),
        ({"code": 13, "message": "oops"}, "oops", Failure.INFRASTRUCTURE),
        ({"code": 3, "message": "exit 1"}, "exit 1", Failure.USER),
        (None, "Vertex AI gave no reason", Failure.USER),
    ],
)
def test_a_failure_of_a_custom_job_says_whose_fault_it_is(error: Any, reason: str, failure: Failure) -> None:
    status = vertex.run_status({"state": "JOB_STATE_FAILED", "error": error})
    assert (status.reason, status.failure) == (reason, failure)


@given(st.text() | st.none() | st.just("JOB_STATE_UNSPECIFIED"))
def test_a_state_that_says_nothing_is_looked_at_again(state: Any) -> None:
    with pytest.raises(Temporary):
        vertex.run_status({"state": state})


# --- Kubernetes


def condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({}, STARTING),
        ({"active": 1}, STARTING),
        ({"active": 1, "ready": 0}, STARTING),
        ({"active": 1, "ready": 1}, RUNNING),
        ({"active": 1, "succeeded": 1}, RUNNING),
        ({"succeeded": 3, "conditions": [condition("Complete")]}, FINISHED),
        ({"succeeded": 1, "conditions": [condition("Complete", "False")]}, RUNNING),
        ({"failed": 1}, STARTING),
        ({"failed": 1, "conditions": [condition("Failed")]}, FAILED),
        ({"conditions": [condition("Suspended")]}, STARTING),
        ({"ready": 1, "conditions": [condition("SuccessCriteriaMet")]}, RUNNING),
        ({"conditions": None, "ready": None}, STARTING),
    ],
)
def test_a_job_has_ended_when_its_conditions_say_so(status: Any, phase: RunPhase) -> None:
    """A parallel Job finishes too, which W&B Launch never sees."""
    assert kubernetes.job_status({"metadata": {"name": "n"}, "status": status}) == RunStatus(
        phase, "the Job failed" if phase is FAILED else "", "n"
    )


def test_a_failed_job_tells_its_message() -> None:
    told = [condition("Failed", reason="DeadlineExceeded", message="Job was active longer than specified deadline")]
    assert kubernetes.job_status({"status": {"conditions": told}}).reason.startswith("Job was active")


VOLCANO = {
    **dict.fromkeys(("Pending", "Inqueue"), STARTING),
    **dict.fromkeys(("Running", "Restarting", "Completing", "Aborting", "Terminating"), RUNNING),
    **dict.fromkeys(("Completed",), FINISHED),
    **dict.fromkeys(("Aborted", "Terminated", "Failed"), FAILED),
}


@pytest.mark.parametrize(("word", "phase"), VOLCANO.items())
def test_every_phase_of_volcano_has_a_meaning(word: str, phase: RunPhase) -> None:
    """S15."""
    assert kubernetes.custom_status({"status": {"state": {"phase": word}}}).phase is phase


@pytest.mark.parametrize(
    ("words", "phase"),
    [
        (["Created"], STARTING),
        (["Created", "Suspended"], STARTING),
        (["Created", "Running"], RUNNING),
        (["Created", "Running", "Restarting"], RUNNING),
        (["Created", "Running", "Succeeded"], FINISHED),
        (["Created", "Running", "Failed"], FAILED),
        (["Completed"], FINISHED),
        (["StartupPolicyCompleted"], STARTING),
    ],
)
def test_conditions_of_kubeflow_and_jobset_amount_to_a_state(words: list[str], phase: RunPhase) -> None:
    """S15."""
    told = [*(condition(word) for word in words), condition("Failed", "False", message="not this")]
    assert kubernetes.custom_status({"status": {"conditions": told}}).phase is phase


@pytest.mark.parametrize(
    ("jobs", "phase"),
    [([{"name": "w", "ready": 1, "active": 0}], RUNNING), ({"ready": 0, "active": 1}, STARTING), ([], STARTING)],
)
def test_a_jobset_is_told_by_its_replicas(jobs: Any, phase: RunPhase) -> None:
    for field in ("replicatedJobsStatus", "ReplicatedJobsStatus"):
        assert kubernetes.custom_status({"status": {field: jobs}}).phase is phase


def argo(phase: str, **more: Any) -> dict[str, Any]:
    """As Argo's controller writes it: `Completed` is true of a workflow that is over, however it went."""
    conditions = [condition("PodRunning", "False")]
    if phase in ("Succeeded", "Failed", "Error"):
        conditions.append(condition("Completed"))
    return {"phase": phase, "progress": "0/1", "conditions": conditions, **more}


@pytest.mark.parametrize(
    ("status", "phase", "reason"),
    [
        (argo("Pending"), STARTING, ""),
        (argo("Running"), RUNNING, ""),
        (argo("Succeeded"), FINISHED, ""),
        (argo("Failed", message="child 'train-1' failed"), FAILED, "child 'train-1' failed"),
        (argo("Error", message="invalid spec: no entrypoint"), FAILED, "invalid spec: no entrypoint"),
    ],
)
def test_an_argo_workflow_is_told_by_its_phase(status: Any, phase: RunPhase, reason: str) -> None:
    """https://argo-workflows.readthedocs.io/en/latest/fields/#workflowstatus"""
    told = kubernetes.custom_status({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "status": status})
    assert (told.phase, told.reason) == (phase, reason)


@pytest.mark.parametrize(
    ("deployment", "job", "phase"),
    [
        ("", "", STARTING),
        ("Initializing", "", STARTING),
        ("Waiting", "", STARTING),
        ("Suspending", "RUNNING", STARTING),
        ("Suspended", "", STARTING),
        ("Running", "", RUNNING),
        ("Running", "PENDING", STARTING),
        ("Running", "RUNNING", RUNNING),
        # Its submitter may still be at work, and its operator may try it again.
        ("Running", "FAILED", RUNNING),
        ("Running", "SUCCEEDED", FINISHED),
        ("Retrying", "FAILED", RUNNING),
        ("Complete", "SUCCEEDED", FINISHED),
        ("Complete", "STOPPED", FAILED),
        ("Complete", "", FINISHED),
        ("Failed", "FAILED", FAILED),
        ("Failed", "RUNNING", FAILED),
        ("Failed", "", FAILED),
        ("ValidationFailed", "", FAILED),
        (None, "RUNNING", RUNNING),
        (None, "FAILED", FAILED),
    ],
)
def test_a_rayjob_is_told_by_its_deployment_and_its_job(deployment: str | None, job: str, phase: RunPhase) -> None:
    """It has no conditions."""
    status = {"jobDeploymentStatus": deployment, "jobStatus": job, "rayClusterName": "r", "message": "said"}
    told = kubernetes.custom_status({"apiVersion": "ray.io/v1", "kind": "RayJob", "status": status})
    assert (told.phase, told.reason) == (phase, "said" if phase is FAILED else "")


def test_a_rayjob_without_a_message_tells_the_reason() -> None:
    status = {"jobDeploymentStatus": "Failed", "jobStatus": "", "reason": "SubmissionFailed", "message": ""}
    assert kubernetes.custom_status({"status": status}).reason == "SubmissionFailed"


def trainer(**counts: int) -> list[dict[str, Any]]:
    return [{"name": "node", "ready": 0, "active": 0, "succeeded": 0, "failed": 0, "suspended": 0, **counts}]


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({}, STARTING),
        ({"conditions": [condition("Suspended", reason="Suspended")], "jobsStatus": trainer(suspended=1)}, STARTING),
        ({"conditions": [condition("Suspended", "False", reason="Resumed")], "jobsStatus": trainer()}, STARTING),
        ({"jobsStatus": trainer(active=1)}, STARTING),
        ({"jobsStatus": trainer(active=1, ready=1)}, RUNNING),
        (
            {
                "conditions": [condition("Suspended", "False", reason="Resumed")],
                "jobsStatus": trainer(active=1, ready=1),
            },
            RUNNING,
        ),
        # Its data is there, and its trainer on its way.
        ({"jobsStatus": [*trainer(succeeded=1), *trainer(active=1)]}, RUNNING),
        (
            {"conditions": [condition("Complete", reason="AllJobsCompleted")], "jobsStatus": trainer(succeeded=1)},
            FINISHED,
        ),
        ({"conditions": [condition("Failed", message="said")], "jobsStatus": trainer(failed=1)}, FAILED),
    ],
)
def test_a_trainjob_is_told_by_itself_alone(status: Any, phase: RunPhase) -> None:
    """Its operator makes its pods, which have no labels of ours: nothing is known of them."""
    job = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {}, "status": status}
    told = kubernetes.run_status(job)
    assert (told.phase, told.reason) == (phase, "said" if phase is FAILED else "")


SPARK = {
    **dict.fromkeys(("SUBMITTED", "SUBMISSION_FAILED", "SUSPENDING", "SUSPENDED", "RESUMING"), STARTING),
    **dict.fromkeys(("RUNNING", "PENDING_RERUN", "INVALIDATING", "SUCCEEDING", "FAILING", "UNKNOWN"), RUNNING),
    **dict.fromkeys(("COMPLETED",), FINISHED),
    **dict.fromkeys(("FAILED",), FAILED),
}


@pytest.mark.parametrize(("word", "phase"), SPARK.items())
def test_every_state_of_a_sparkapplication_has_a_meaning(word: str, phase: RunPhase) -> None:
    told = kubernetes.custom_status({"status": {"applicationState": {"state": word, "errorMessage": "driver died"}}})
    assert (told.phase, told.reason) == (phase, "driver died" if phase is FAILED else "")


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({"terminalState": "Completed", "conditions": [condition("Completed")], "restarts": 0}, FINISHED),
        ({"terminalState": "Failed", "conditions": [condition("Failed", message="jobset failed")]}, FAILED),
        ({"terminalState": "", "conditions": [condition("StartupPolicyCompleted")], "restarts": 1}, STARTING),
    ],
)
def test_a_jobset_that_is_over_says_how_in_one_word(status: Any, phase: RunPhase) -> None:
    jobs = [{"name": "w", "ready": 0, "active": 1, "succeeded": 0, "failed": 0, "suspended": 0}]
    told = kubernetes.custom_status({"status": {**status, "replicatedJobsStatus": jobs}})
    assert (told.phase, told.reason) == (phase, "jobset failed" if phase is FAILED else "")


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({"phase": "Pending", "conditions": [condition("PodScheduled")]}, STARTING),
        ({"phase": "Running", "conditions": [condition("Ready")]}, RUNNING),
        ({"phase": "Succeeded", "conditions": [condition("Ready", "False")]}, FINISHED),
        ({"phase": "Failed", "conditions": [condition("Ready", "False")]}, FAILED),
        ({"phase": "Unknown"}, RUNNING),
    ],
)
def test_a_pod_as_a_run_is_told_by_its_phase(status: Any, phase: RunPhase) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase"""
    assert kubernetes.run_status({"apiVersion": "v1", "kind": "Pod", "status": status}).phase is phase


def test_a_pod_as_a_run_tells_of_itself() -> None:
    ended = {"name": "c", "state": {"terminated": {"exitCode": 3}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    failed = kubernetes.run_status({**pod, "status": {"phase": "Failed", "containerStatuses": [ended]}})
    assert (failed.exit_code, failed.reason) == (3, "container c of pod p exited with code 3")
    nowhere = condition("PodScheduled", "False", message="0/3 nodes are available")
    waits = kubernetes.run_status({**pod, "status": {"phase": "Pending", "conditions": [nowhere]}})
    assert (waits.phase, waits.trouble) == (STARTING, "pod p finds no node: 0/3 nodes are available")


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({"jobDeploymentStatus": "Failed", "phase": "Running"}, FAILED),
        ({"state": {"phase": "Running"}, "phase": "Failed"}, RUNNING),
        ({"phase": "Failed", "applicationState": {"state": "RUNNING"}}, FAILED),
        ({"applicationState": {"state": "RUNNING"}, "terminalState": "Failed"}, RUNNING),
        ({"terminalState": "Failed", "conditions": [condition("Running")]}, FAILED),
        ({"conditions": [condition("Created")], "replicatedJobsStatus": [{"ready": 1}]}, STARTING),
        ({"replicatedJobsStatus": [{"active": 1}], "jobsStatus": [{"ready": 1}]}, STARTING),
        # A word that nobody knows is passed over.
        ({"state": {"phase": "Pondering"}, "phase": "Running"}, RUNNING),
        ({"state": "Running", "phase": {"of": "moon"}, "conditions": [condition("Failed")]}, FAILED),
    ],
)
def test_what_controllers_write_is_believed_in_a_stated_order(status: Any, phase: RunPhase) -> None:
    assert kubernetes.custom_status({"status": status}).phase is phase


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ([condition("Failed", message="OOM")], "OOM"),
        ([condition("Failed", reason="PodFailed")], "PodFailed"),
        ([condition("Failed")], "its controller says it failed"),
        ([condition("Failed", "False", message="not this"), condition("Aborted", message="that")], "that"),
        ([], "its controller says it failed"),
    ],
)
def test_a_failure_tells_the_message_of_the_condition_that_is_true(conditions: Any, reason: str) -> None:
    told = {"status": {"state": {"phase": "Failed"}, "conditions": conditions}}
    assert kubernetes.custom_status(told).reason == reason


@given(st.text(min_size=1).filter(lambda word: word.lower() not in kubernetes.WORDS))
def test_a_word_of_a_controller_that_nobody_knows_is_shown_and_has_a_deadline(word: str) -> None:
    """Anybody may write a controller, so its words are not an error; an item that is starting does not do so for
    ever."""
    status = kubernetes.custom_status({"status": {"state": {"phase": word}}})
    assert (status.phase, status.reason) == (STARTING, f"its controller says {word}")


conditions = st.lists(
    st.builds(condition, st.sampled_from(sorted(kubernetes.WORDS)) | st.text(), st.sampled_from(["True", "False"]))
)


said = st.none() | st.sampled_from(sorted(kubernetes.WORDS)) | st.text() | st.integers()
verdicts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("phase", "terminalState", "jobStatus", "jobDeploymentStatus", "message", "reason"), said),
        "state": said | st.fixed_dictionaries({}, optional={"phase": said, "message": said}),
        "applicationState": said | st.fixed_dictionaries({}, optional={"state": said, "errorMessage": said}),
    },
)


@given(conditions, verdicts, st.none() | st.integers(0, 3), st.sampled_from(["replicatedJobsStatus", "jobsStatus"]))
def test_any_status_of_an_object_is_a_phase(conditions: Any, verdict: Any, count: Any, jobs: str) -> None:
    counts = [{"ready": count, "active": count, "succeeded": count}]
    status = kubernetes.custom_status({"status": {**verdict, "conditions": conditions, jobs: counts}})
    assert status.phase in RunPhase
    assert status.phase is not FAILED or status.reason
    assert kubernetes.job_status({"status": {"conditions": conditions, "ready": count}}).phase in RunPhase
