"""The command line against a deployment on AWS, over HTTP, as its user meets it: from the login to the end of a log."""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import services
from tests.conditions import eventually
from tests.entries.command_line import Run, command_line
from tests.standins.aws.api_gateway import ApiGateway
from tests.standins.aws.codebuild import CodeBuild
from tests.standins.aws.moto_server import ACCOUNT, REGION
from tests.standins.aws.moto_sqs import clock_of_sqs
from tests.standins.aws.sagemaker import SageMakerStandin
from tests.standins.aws.stack import Stack, deployed

from slipway.adapters.aws.clients import Clients

IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/digits:1.0"
LINES, WIDTH = 3000, 2500
"""Of a log that is larger than what Lambda passes on."""
QUEUE = Path(__file__).parents[2] / "examples" / "02-sagemaker" / "queue.yaml"


@pytest.fixture
def stack(aws: Clients, moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Its jobs really run, as processes of this machine."""
    clock = clock_of_sqs(monkeypatch)
    events: deque[dict[str, Any]] = deque()
    with (
        SageMakerStandin(runs=True, logs=moto, grace=5.0, on_event=events.append) as sagemaker,
        CodeBuild(on_event=events.append) as codebuild,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", sagemaker.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", codebuild.url)
        destination = IMAGE.rpartition("/")[0] + "/slipway"
        yield deployed(aws, clock, monkeypatch, sagemaker, codebuild, events, destination=destination)


@pytest.fixture
def gateway(stack: Stack) -> ApiGateway:
    return ApiGateway(stack)


@pytest.fixture
def url(gateway: ApiGateway) -> Iterator[str]:
    with services.web(gateway) as host:
        yield f"http://{host}"


@pytest.fixture
def run(
    stack: Stack, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Logged in to the deployment."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("SLIPWAY_")}
    run = command_line(tmp_path, monkeypatch, capsys)
    monkeypatch.delenv("SLIPWAY_HOME")
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{stack.key}\n"))
    assert run("login", url).code == 0
    return run


def test_a_queue_is_applied_and_a_job_submitted_watched_and_read(run: Run, stack: Stack) -> None:
    assert run("queue", "apply", str(QUEUE), "--entity", "team").code == 0
    job = ("--docker-image", IMAGE, "-E", "sh", "-a", "-c", "-a", "echo trained for $EPOCHS epochs")
    submitted = run("submit", "-e", "team", "-q", "sagemaker", *job, "--set-var", "epochs=7", "--name", "digits")
    assert submitted.code == 0, submitted.err
    stack.pump()
    eventually(lambda: all(job.over for job in stack.sagemaker.jobs.values()) or None, within=20)
    stack.pump()
    (item,) = run("ps", "--all", "-o", "json").json
    assert (item["name"], item["state"]) == ("digits", "finished")
    assert run("logs", "digits").out == "trained for 7 epochs\n"
    assert "finished" in run("explain", "digits").out


def test_a_log_that_is_larger_than_lambda_answers_is_read_whole(run: Run, stack: Stack, gateway: ApiGateway) -> None:
    """The command comes again for what is missing, and misses and repeats no line."""
    run("queue", "apply", str(QUEUE), "--entity", "team")
    program = f"for n in range({LINES}): print(n, 'x' * {WIDTH})"
    job = ("--docker-image", IMAGE, "-E", "python3", "-a", "-c", "-a", program)
    assert run("submit", "-e", "team", "-q", "sagemaker", *job, "--name", "long").code == 0
    stack.pump()
    eventually(lambda: all(job.over for job in stack.sagemaker.jobs.values()) or None, within=60)
    stack.pump()
    before = gateway.answered
    assert run("logs", "long").out == "".join(f"{n} {'x' * WIDTH}\n" for n in range(LINES))
    assert gateway.answered - before >= 3, "the item is looked for, and its log comes in two parts at least"
    assert stack.failures == []
