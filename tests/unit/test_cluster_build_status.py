"""What a build's objects say of it, in a phase and in words: each way in which a build in a cluster ends or waits."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.adapters.kubernetes.build_jobs import curl_config, docker_config, name_of
from slipway.adapters.kubernetes.build_status import IN_LINE, build_status
from slipway.model import BuildPhase, BuildStatus
from slipway.render.buildah import FLAVOUR as BUILDAH
from slipway.render.kaniko import FLAVOUR as KANIKO

IMAGE = "registry.example.com/team/jobs:3f2a"
COMPLETE = {"type": "Complete", "status": "True"}
FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}
LATE = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}


def job(*conditions: dict[str, Any]) -> dict[str, Any]:
    metadata = {"namespace": "builds", "name": "slipway-build-1", "annotations": {"slipway.image": IMAGE}}
    spec = {"activeDeadlineSeconds": 86400, "template": {"spec": {"activeDeadlineSeconds": 1800}}}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": list(conditions)}}


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    containers = [{"name": "wandb-container-build", "state": state}] if state else []
    return {"metadata": {"name": "pod-1"}, "status": {"containerStatuses": containers, **status}}


def exited(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-01-01T00:00:00Z"}}


def failed(*tail: str, state: dict[str, Any] | None = None, **status: Any) -> BuildStatus:
    return build_status(job(FAILED), KANIKO, [pod(state or exited(1), phase="Failed", **status)], tail=tail)


def test_a_complete_job_is_a_success_whatever_its_pods_say() -> None:
    status = build_status(job(COMPLETE), KANIKO, [pod(exited(1))])
    assert status == BuildStatus(BuildPhase.SUCCEEDED, "builds/slipway-build-1")


def test_a_condition_that_is_not_true_is_none() -> None:
    assert build_status(job({"type": "Failed", "status": "False"}), KANIKO).phase is BuildPhase.QUEUED


@pytest.mark.parametrize("state", [{"running": {"startedAt": "2026-01-01T00:00:00Z"}}, exited(0)])
def test_a_build_whose_container_has_begun_is_running(state: dict[str, Any]) -> None:
    assert build_status(job(), KANIKO, [pod(state)]).phase is BuildPhase.RUNNING


@pytest.mark.parametrize("pods", [[], [pod()], [pod({"waiting": {"reason": "ContainerCreating"}})]])
def test_one_that_has_not_is_in_line(pods: list[dict[str, Any]]) -> None:
    status = build_status(job(), KANIKO, pods)
    assert (status.phase, status.reason) == (BuildPhase.QUEUED, IN_LINE)


def test_a_secret_that_is_not_there_yet_is_told() -> None:
    event = {"type": "Warning", "reason": "FailedMount", "message": 'secret "x" not found'}
    status = build_status(job(), KANIKO, [pod()], [{**event, "involvedObject": {"kind": "Pod", "name": "pod-1"}}])
    assert (status.phase, 'secret "x" not found' in status.reason) == (BuildPhase.QUEUED, True)


def refused(message: str) -> BuildStatus:
    about = {"kind": "Job", "name": "slipway-build-1"}
    event = {"type": "Warning", "reason": "FailedCreate", "message": message, "involvedObject": about}
    return build_status(job(), BUILDAH, [], [event])


def test_a_namespace_that_lets_no_root_run_fails_it_and_names_the_level() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    status = refused('pods "slipway-build-1-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot')
    assert status.phase is BuildPhase.FAILED
    assert "let the namespace builds have the pod security level baseline" in status.reason


def test_a_quota_on_pods_is_waited_for() -> None:
    status = refused('pods "slipway-build-1-x" is forbidden: exceeded quota: none, requested: pods=1')
    assert (status.phase, "exceeded quota" in status.reason) == (BuildPhase.QUEUED, True)


def test_old_news_of_a_job_that_has_a_pod_now_does_not_fail_it() -> None:
    about = {"kind": "Job", "name": "slipway-build-1"}
    said = 'pods "x" is forbidden: error looking up service account builds/b: serviceaccount "b" not found'
    event = {"type": "Warning", "reason": "FailedCreate", "message": said, "involvedObject": about}
    assert build_status(job(), KANIKO, [pod()], [event]).phase is BuildPhase.QUEUED


@pytest.mark.parametrize(
    "line",
    [
        'error checking push permissions: checking push permission for "r/a:1": POST https://r/v2/: UNAUTHORIZED',
        "error pushing image: failed to push to destination r/a:1: unexpected status code 403 Forbidden",
        "error pushing image: failed to push to destination r/a:1: denied: requested access to the resource is denied",
    ],
)
def test_a_refused_push_says_what_to_check(line: str) -> None:
    assert "does not let it push to registry.example.com/team/jobs: check the login" in failed(line).reason


def test_a_push_that_is_refused_by_buildahs_registry_says_so_too() -> None:
    lines = "unauthorized: authentication required", "slipway: the image cannot be pushed"
    assert "check the login" in failed(*lines).reason


@pytest.mark.parametrize(
    "line",
    [
        "error resolving source context: operation error S3: GetObject, https response error StatusCode: 403",
        "slipway: the context s3://bucket/contexts/a.tar.gz cannot be read",
        "slipway: the context tar:///context/a.tar.gz cannot be unpacked",
    ],
)
def test_a_context_that_cannot_be_read_says_who_must_be_able_to(line: str) -> None:
    assert "Its context cannot be read" in failed(line).reason


@pytest.mark.parametrize(
    "line",
    [
        "error building image: RUN pip install: exit code 1",
        "HTTP 403 from pypi.example.com",
        "error pushing image: failed to push to destination r/a:1: connection reset by peer",
    ],
)
def test_what_is_nobodys_refusal_is_told_as_it_is(line: str) -> None:
    status = failed(line)
    assert status.reason == "container wandb-container-build of pod pod-1 exited with code 1"
    assert status.log_tail == line


def test_too_little_memory_names_the_limit_to_raise() -> None:
    assert "raise resources.limits.memory" in failed(state=exited(137, "OOMKilled")).reason


def test_a_pod_that_ran_too_long_names_its_limit_and_where_it_stands() -> None:
    status = failed(state=exited(137), reason="DeadlineExceeded")
    assert "not done within 1800 s" in status.reason
    assert "Raise spec.template.spec.activeDeadlineSeconds in builder.kaniko-config" in status.reason


def test_a_job_that_waited_too_long_says_what_for() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    status = build_status(job(LATE), KANIKO, [pod(waiting)])
    assert status.phase is BuildPhase.FAILED
    assert "not done within 86400 s" in status.reason
    assert "the image cannot be pulled" in status.reason


def test_a_failed_job_without_its_pod_says_that_its_log_is_gone() -> None:
    status = build_status(job(FAILED), KANIKO)
    assert status.reason.startswith("Job has reached the limit; its pod is gone, and its log with it")


def test_a_right_to_read_is_taken_out_of_a_log() -> None:
    url = "https://bucket.s3.eu-west-1.amazonaws.com/contexts/a.tar.gz?X-Amz-Signature=abc&X-Amz-Expires=1"
    assert failed(f'Get "{url}": EOF').log_tail == f'Get "{url.partition("?")[0]}?…": EOF'


def test_a_name_is_a_function_of_image_and_attempt_and_fits() -> None:
    names = {name_of({"build-job-name": "b" * 50}, image, attempt) for image in "ab" for attempt in (1, 2)}
    assert len(names) == 4
    assert {len(name) for name in names} == {63}
    assert name_of({}, "a", 1).startswith("slipway-build-")


@pytest.mark.parametrize(
    ("host", "written"),
    [("registry.example.com:5000", "registry.example.com:5000"), ("docker.io", "https://index.docker.io/v1/")],
)
def test_a_login_is_written_for_the_name_that_clients_look_under(host: str, written: str) -> None:
    assert docker_config(host, ("user", "pass")) == f'{{"auths": {{"{written}": {{"auth": "dXNlcjpwYXNz"}}}}}}'


def test_an_address_cannot_leave_its_line_in_curls_settings() -> None:
    assert curl_config('https://h/a"\\b?c=d') == 'url = "https://h/a\\"\\\\b?c=d"\n'
