"""A whole deployment on AWS, through its functions: from a request or a message to the end of a training job.

moto keeps state, messages and blobs; SageMaker and CodeBuild are stand-ins that speak their protocol to the real boto3.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from dulwich import porcelain
from tests import services
from tests.conditions import eventually
from tests.contracts.test_docker_builder import docker_with_buildkit
from tests.docker_engine import docker
from tests.git_over_http import GitOverHttp
from tests.standins.aws.deployment import ROLE
from tests.standins.aws.moto_server import ACCOUNT, HTPASSWD, REGION
from tests.standins.aws.stack import Stack, deployment

from slipway.adapters.aws.clients import Clients
from slipway.model import Topic

IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/digits:1.0"
QUEUE = {
    "resource": "sagemaker",
    "max_jobs": 20,
    "config": {
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    },
}
OPEN = {"SLIPWAY_PRIVATE_ADDRESSES": "true", "SLIPWAY_INSECURE_GIT": "true"}
WHO = b"Test <test@example.org>"
SPEC = {"entity": "team", "project": "digits", "queue": "sagemaker", "docker": {"docker_image": IMAGE}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Plays ECR's own API, which moto does not have."""
    with services.oci_registry(tmp_path_factory.mktemp("ecr"), HTPASSWD) as host:
        yield host


@pytest.fixture
def stack(aws: Clients, registry: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with deployment(aws, registry, monkeypatch, **OPEN) as stack:
        put_queue(stack)
        yield stack


def put_queue(stack: Stack, name: str = "sagemaker", **changes: Any) -> None:
    status, answer = stack.ask("PUT", f"/v1/queues/team/{name}", {**QUEUE, **changes})
    assert status in (200, 201), answer


def submit(stack: Stack, **changes: Any) -> str:
    status, answer = stack.ask("POST", "/v1/items", {**SPEC, **changes})
    assert status == 201, answer
    return str(answer["id"])


def test_an_image_becomes_a_training_job_and_its_end_is_told_by_its_event(stack: Stack) -> None:
    """C1 to C6, S17: nothing runs and nothing polls between these triggers."""
    item = submit(stack)
    stack.pump()
    (name,) = stack.sagemaker.jobs
    assert name == f"slipway-{item}-1"
    assert stack.item(item)["state"] == "starting"
    stack.sagemaker.train(name)
    stack.pump()
    assert stack.item(item)["state"] == "running"
    stack.sagemaker.finish(name, {"accuracy": 0.97})
    stack.pump()
    ended = stack.item(item)
    assert (ended["state"], ended["exit_code"], ended["metrics"]) == ("finished", 0, {"accuracy": 0.97})
    assert [each["id"] for each in stack.ask("GET", "/v1/items")[1]["items"]] == [item]
    assert [stack.visible(topic, dead=True) for topic in Topic] == [0, 0, 0]
    assert stack.failures == []


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    with job_over_http(tmp_path / "git") as address:
        yield address


@contextmanager
def job_over_http(folder: Path) -> Iterator[str]:
    """The address of a git repository with a job that says what it was called with."""
    path = folder / "digits.git"
    path.mkdir(parents=True)
    with porcelain.init(path) as repo:
        (path / "train.py").write_text("import sys\nprint('trained for', *sys.argv[1:])\n")
        (path / "Dockerfile.wandb").write_text(f"FROM {services.BASE_IMAGE}\nWORKDIR /job\nCOPY . /job\nUSER 1000\n")
        porcelain.add(repo, [str(path / name) for name in ("train.py", "Dockerfile.wandb")])
        porcelain.commit(repo, message=b"A job", author=WHO, committer=WHO)
    with services.web(GitOverHttp(folder)) as host:
        yield f"http://{host}/digits.git"


@pytest.fixture
def building(aws: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stack]:
    """A deployment whose builds really run, and a registry of its own. What they leave with docker is removed."""
    command = docker_with_buildkit()
    services.base_image()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "ecr").mkdir()
    with (
        services.oci_registry(tmp_path / "ecr", HTPASSWD) as own,
        deployment(aws, own, monkeypatch, docker=command, **OPEN) as stack,
    ):
        stack.sagemaker.registries.add(own)
        put_queue(stack)
        yield stack
        if images := docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{own}/slipway").split():
            docker("image", "rm", "--force", *images, check=False)


@pytest.mark.docker
@pytest.mark.registry
def test_a_git_source_becomes_an_image_that_runs_what_was_submitted_and_is_built_once(
    building: Stack, repository: str
) -> None:
    """C1 to C6, S11: only the training job itself is played, by docker on this machine."""
    item = submit_code(building, repository)
    building.pump()
    assert building.item(item)["state"] == "building"
    (build,) = building.codebuild.builds.values()
    eventually(lambda: building.events and build.over, within=120)
    eventually(lambda: building.events[-1]["detail"]["build-status"] != "IN_PROGRESS")
    building.pump()
    started = building.item(item)
    assert started["state"] == "starting", started["reason"]
    (request,) = building.sagemaker.calls("CreateTrainingJob")
    job = request.body["AlgorithmSpecification"]
    assert job["TrainingImage"].startswith(f"{building.environment['SLIPWAY_DESTINATION']}:")
    assert ran(job) == "trained for 3 epochs"
    building.sagemaker.finish(f"slipway-{item}-1")
    building.pump()
    assert building.item(item)["state"] == "finished"
    again = submit_code(building, repository)
    building.pump()
    assert building.item(again)["state"] == "starting"
    assert len(building.codebuild.builds) == 1
    assert building.failures == []


def ran(job: Mapping[str, Any]) -> str:
    """What a container says that is started as SageMaker would, from the image as it came out of the registry."""
    image = job["TrainingImage"]
    docker("image", "rm", "--force", image, check=False)
    docker("login", "--username", "AWS", "--password", f"{ACCOUNT}-auth-token", image.partition("/")[0])
    docker("pull", image)
    program, *arguments = [*job["ContainerEntrypoint"], *job["ContainerArguments"]]
    return docker("run", "--rm", "--network", "none", "--entrypoint", program, image, *arguments)


# --- ways in


def test_a_spec_put_straight_on_the_queue_goes_the_same_way(stack: Stack) -> None:
    """C2: a message of a user's own code, and one that EventBridge sends."""
    url = stack.environment["SLIPWAY_QUEUE_SUBMIT"]
    event = {"id": "e1", "detail-type": "Model approved", "source": "com.example", "detail": SPEC}
    for body in (SPEC, event):
        stack.aws.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    stack.pump()
    assert len(stack.sagemaker.jobs) == 2


def test_one_poisoned_message_among_ten_costs_the_others_nothing(stack: Stack) -> None:
    url = stack.environment["SLIPWAY_QUEUE_SUBMIT"]
    for number in range(10):
        body = '{"queue": ' if number == 4 else json.dumps(SPEC)
        stack.aws.sqs.send_message(QueueUrl=url, MessageBody=body)
    stack.pump()
    assert len(stack.sagemaker.jobs) == 9
    status, letters = stack.ask("GET", "/v1/dead-letters")
    assert status == 200
    (letter,) = letters["dead_letters"]
    assert (letter["topic"], "not JSON" in letter["reason"]) == ("submit", True)


def test_an_event_bridge_event_delivered_twice_is_one_item(stack: Stack) -> None:
    url = stack.environment["SLIPWAY_QUEUE_SUBMIT"]
    event = {"id": "e1", "detail-type": "Model approved", "source": "com.example", "detail": SPEC}
    for _ in range(2):
        stack.aws.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))
    stack.pump()
    assert len(stack.sagemaker.jobs) == 1


# --- failures, a stage each


def test_what_breaks_a_rule_is_refused_with_every_problem_and_stored_nowhere(stack: Stack) -> None:
    status, answer = stack.ask("POST", "/v1/items", {**SPEC, "queue": "sagemakr", "overides": {}})
    assert status == 422
    assert "overides" in answer["error"]["message"]
    assert stack.ask("GET", "/v1/items")[1]["items"] == []


def test_a_failed_build_fails_its_item_with_the_end_of_its_log(stack: Stack, repository: str) -> None:
    item = submit_code(stack, repository)
    stack.pump()
    assert (stack.item(item)["state"], stack.item(item)["reason"]) == ("building", "building its image")
    (build,) = stack.codebuild.builds
    stack.codebuild.enter(build, "BUILD")
    stack.codebuild.end(build, "FAILED", "Error while executing command: docker build. Reason: exit status 1")
    heard(stack)
    failed = stack.item(item)
    assert (failed["state"], failed["stage"]) == ("failed", "build")
    assert "exit status 1" in failed["reason"]


def test_a_role_that_sagemaker_cannot_assume_fails_the_launch_and_names_the_cure(stack: Stack) -> None:
    stack.sagemaker.closed_roles.add(ROLE)
    item = submit(stack)
    stack.pump()
    failed = stack.item(item)
    assert (failed["state"], failed["stage"]) == ("failed", "launch")
    assert "sagemaker.amazonaws.com" in failed["reason"]


def test_a_job_that_exits_with_an_error_fails_the_run_with_its_exit_code(stack: Stack) -> None:
    item = submit(stack)
    stack.pump()
    stack.sagemaker.fail(f"slipway-{item}-1", "AlgorithmError: , exit code: 3")
    stack.pump()
    failed = stack.item(item)
    assert (failed["state"], failed["stage"], failed["exit_code"]) == ("failed", "run", 3)


def test_a_job_of_the_same_name_that_is_anothers_is_left_alone(stack: Stack) -> None:
    put_queue(stack, config={**QUEUE["config"], "TrainingJobName": "digits"})
    item = submit(stack)
    stack.pump()
    again = submit(stack)
    stack.pump()
    assert stack.item(item)["state"] == "starting"
    failed = stack.item(again)
    assert (failed["state"], failed["stage"]) == ("failed", "launch")
    assert "is not this run's" in failed["reason"]


# --- waiting


def test_a_quota_keeps_the_item_in_line_with_the_reason_until_there_is_room(stack: Stack) -> None:
    stack.sagemaker.quotas["ml.m5.large"] = 0
    item = submit(stack)
    stack.pump()
    waiting = stack.item(item)
    assert waiting["state"] == "pending"
    assert "account-level service limit" in waiting["reason"]
    stack.sagemaker.quotas["ml.m5.large"] = 1
    stack.advance(60)
    stack.tick()
    stack.pump()
    assert stack.item(item)["state"] == "starting"


def test_a_build_behind_others_is_queued_and_does_not_fail_although_a_build_may_take_half_an_hour(
    stack: Stack, repository: str
) -> None:
    """The default quota is one build at a time in the whole account."""
    stack.codebuild.create_project("of-another-team", timeout=120)
    Clients().codebuild.start_build(projectName="of-another-team")
    item = submit_code(stack, repository)
    stack.pump()
    for _ in range(45):
        stack.advance(60)
        stack.tick()
    waiting = stack.item(item)
    assert (waiting["state"], waiting["reason"].startswith("in line at CodeBuild")) == ("building", True)
    first, own = stack.codebuild.builds
    stack.codebuild.end(first)
    stack.advance(60)
    stack.tick()
    assert stack.item(item)["reason"] == "building its image"
    stack.codebuild.end(own, "FAILED", "exit status 1")
    heard(stack)
    assert stack.item(item)["state"] == "failed"


def test_an_event_that_is_lost_is_made_up_for_by_the_clock(stack: Stack) -> None:
    item = submit(stack)
    stack.pump()
    stack.sagemaker.finish(f"slipway-{item}-1")
    stack.events.clear()
    stack.advance(600)
    stack.tick()
    assert stack.item(item)["state"] == "finished"


def test_late_and_doubled_events_change_nothing(stack: Stack) -> None:
    item = submit(stack)
    stack.pump()
    stack.sagemaker.train(f"slipway-{item}-1")
    stack.sagemaker.finish(f"slipway-{item}-1")
    heard_events = list(stack.events)
    stack.pump()
    ended = stack.item(item)
    stack.events.extend(reversed(heard_events * 2))
    stack.pump()
    assert stack.item(item)["timeline"] == ended["timeline"]


# --- wishes


def test_an_item_is_cancelled_in_line_while_it_is_built_and_while_it_runs(stack: Stack, repository: str) -> None:
    put_queue(stack, max_jobs=1)
    running_, waiting = submit(stack), submit(stack)
    building = submit_code(stack, repository)
    stack.pump()
    states = [stack.item(each)["state"] for each in (running_, waiting, building)]
    assert states == ["starting", "pending", "building"]
    for each in (waiting, building, running_):
        assert stack.ask("POST", f"/v1/items/{each}/cancel")[0] == 200
    stack.pump()
    stack.advance(130)
    stack.pump()
    stack.tick()
    assert [stack.item(each)["state"] for each in (running_, waiting, building)] == ["stopped"] * 3
    assert [job.status for job in stack.sagemaker.jobs.values()] == ["Stopped"]


def test_a_preempted_spot_run_is_resumed_as_the_next_attempt_of_the_same_run(stack: Stack) -> None:
    item = submit(stack)
    stack.pump()
    stack.sagemaker.train(f"slipway-{item}-1")
    stack.sagemaker.interrupt(f"slipway-{item}-1")
    stack.sagemaker.move(f"slipway-{item}-1", "Stopped", "MaxWaitTimeExceeded")
    stack.pump()
    assert set(stack.sagemaker.jobs) == {f"slipway-{item}-1", f"slipway-{item}-2"}
    bodies = [request.body for request in stack.sagemaker.calls("CreateTrainingJob")]
    assert len({body["Environment"]["WANDB_RUN_ID"] for body in bodies}) == 1


# --- what people look at and put in order


def test_the_log_of_a_run_and_of_its_build_are_read_from_cloudwatch(stack: Stack, repository: str) -> None:
    item = submit(stack)
    stack.pump()
    said(stack, "/aws/sagemaker/TrainingJobs", f"slipway-{item}-1/algo-1-1700000000", "epoch 1")
    assert stack.ask("GET", f"/v1/items/{item}/logs") == (200, "epoch 1\n")
    built = submit_code(stack, repository)
    stack.pump()
    (build,) = stack.codebuild.builds.values()
    stack.codebuild.enter(build.id, "BUILD")
    said(stack, build.group, build.stream, "step 1")
    assert stack.ask("GET", f"/v1/items/{built}/logs?source=build") == (200, "step 1\n")


def test_dead_letters_are_looked_at_delivered_again_and_forgotten(stack: Stack) -> None:
    url = stack.environment["SLIPWAY_QUEUE_SUBMIT"]
    for body in (json.dumps({**SPEC, "queue": "later"}), "nonsense"):
        stack.aws.sqs.send_message(QueueUrl=url, MessageBody=body)
        stack.pump()
    letters = stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]
    later, nonsense = sorted(letters, key=lambda letter: "not JSON" in letter["reason"])
    assert stack.ask("GET", f"/v1/dead-letters/{later['id']}")[1]["message"] == {**SPEC, "queue": "later"}
    put_queue(stack, name="later")
    assert stack.ask("POST", f"/v1/dead-letters/{later['id']}/redrive")[0] == 204
    assert stack.ask("DELETE", f"/v1/dead-letters/{nonsense['id']}")[0] == 204
    stack.pump()
    assert len(stack.sagemaker.jobs) == 1
    assert stack.ask("GET", "/v1/dead-letters")[1] == {"dead_letters": []}


def test_an_id_that_sqs_gave_up_on_is_delivered_again_like_any_other(stack: Stack) -> None:
    item = submit(stack)
    stack.aws.sqs.purge_queue(QueueUrl=stack.environment["SLIPWAY_QUEUE_ADVANCE"])
    for topic in ("ADVANCE", "BUILD"):
        stack.aws.sqs.send_message(QueueUrl=stack.environment[f"SLIPWAY_DEAD_{topic}"], MessageBody=item)
    for letter in stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]:
        assert stack.ask("POST", f"/v1/dead-letters/{letter['id']}/redrive")[0] == 204
    stack.pump()
    assert stack.item(item)["state"] == "starting"


def test_keys_are_made_and_revoked_and_an_empty_queue_is_deleted(stack: Stack) -> None:
    status, made = stack.ask("POST", "/v1/keys", {"entity": "team", "name": "ci"})
    assert status == 201
    mine = {"authorization": f"Bearer {made['key']}"}
    assert stack.ask("DELETE", "/v1/queues/team/sagemaker", **mine)[0] == 204
    assert stack.ask("GET", "/v1/queues", **mine)[1]["queues"] == []
    assert stack.ask("DELETE", f"/v1/keys/{made['id']}")[0] == 204
    assert stack.ask("GET", "/v1/queues", **mine)[0] == 401


def test_what_is_too_large_for_a_record_lies_in_the_bucket_and_its_loss_is_told(stack: Stack) -> None:
    large = {f"table-{number}": "x" * 2000 for number in range(90)}
    put_queue(stack, config={**QUEUE["config"], "HyperParameters": large})
    item = submit(stack)
    stack.aws.sqs.send_message(QueueUrl=stack.environment["SLIPWAY_QUEUE_SUBMIT"], MessageBody=json.dumps(SPEC))
    stack.pump()
    assert [job.status for job in stack.sagemaker.jobs.values()] == ["InProgress"] * 2
    bucket = stack.environment["SLIPWAY_BUCKET"]
    for each in stack.aws.s3.list_objects_v2(Bucket=bucket)["Contents"]:
        stack.aws.s3.delete_object(Bucket=bucket, Key=each["Key"])
    status, answer = stack.ask("GET", f"/v1/items/{item}")
    assert (status, "lifecycle rule" in answer["error"]["message"]) == (422, True)
    for topic in (Topic.ADVANCE, Topic.BUILD):
        url = stack.environment[f"SLIPWAY_QUEUE_{topic.upper()}"]
        stack.aws.sqs.send_message(QueueUrl=url, MessageBody=item)
    stack.pump()
    letters = stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]
    assert {(letter["topic"], "lifecycle rule" in letter["reason"]) for letter in letters} == {
        ("advance", True),
        ("build", True),
    }


@pytest.mark.timeout(300)
def test_of_200_submissions_at_most_five_run_at_once_and_all_finish(stack: Stack) -> None:
    put_queue(stack, max_jobs=5)
    items = [submit(stack) for _ in range(200)]
    most = 0
    while len(stack.sagemaker.jobs) < len(items):
        stack.pump()
        alive = [name for name, job in stack.sagemaker.jobs.items() if not job.over]
        most = max(most, len(alive))
        assert alive, "the line stands still although slots are free"
        for name in alive:
            stack.sagemaker.finish(name)
        only_ends(stack)
    stack.pump()
    assert most == 5
    assert list(stack.sagemaker.jobs) == [f"slipway-{item}-1" for item in items], "first in, first out"
    listed = stack.ask("GET", "/v1/items?limit=300")[1]["items"]
    assert {item["state"] for item in listed} == {"finished"}


def said(stack: Stack, group: str, stream: str, line: str) -> None:
    """As a run or a build writes to CloudWatch."""
    logs = stack.aws.logs
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])  # type: ignore[list-item]


def only_ends(stack: Stack) -> None:
    """Of each job only the latest event arrives: it says to look again, and so did those before."""
    latest = {event["detail"]["TrainingJobName"]: event for event in stack.events}
    stack.events.clear()
    stack.events.extend(latest.values())


def heard(stack: Stack) -> None:
    """CodeBuild's events come from a thread of its own."""
    eventually(lambda: stack.events, within=5)
    stack.pump()


def submit_code(stack: Stack, repository: str, **changes: Any) -> str:
    spec = {name: value for name, value in SPEC.items() if name != "docker"}
    overrides = {"entry_point": ["python3", "train.py"], "args": ["3", "epochs"]}
    status, answer = stack.ask("POST", "/v1/items", {**spec, "uri": repository, "overrides": overrides, **changes})
    assert status == 201, answer
    return str(answer["id"])
