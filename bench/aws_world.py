"""A deployment on AWS for measurements: the functions, moto, the stand-ins, one queue, and the functions' events."""

from __future__ import annotations

import io
import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from tests.standins.aws.codebuild import CodeBuild
from tests.standins.aws.deployment import queue_arn
from tests.standins.aws.moto_server import ACCOUNT, REGION, environment, moto_server
from tests.standins.aws.sagemaker import SageMakerStandin
from tests.standins.aws.stack import Stack, deployed
from tools.stage import ROOT

from slipway.adapters.aws.clients import Clients
from slipway.adapters.memory.clock import MemoryClock
from slipway.model import Topic

QUEUE = {
    "resource": "sagemaker",
    "config": {
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
    },
}
JOB = {
    "entity": "team",
    "project": "digits",
    "queue": "sagemaker",
    "overrides": {"args": ["--epochs", "10", "--lr", "0.001"], "run_config": {"batch_size": 128, "layers": [64, 128]}},
}
LOG = io.StringIO()
"""What the functions of this process log. One for all worlds: powertools keeps the stream that it had first."""
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/digits:1.0"


@dataclass(frozen=True)
class World:
    stack: Stack
    environment: dict[str, str]
    """Of the functions, boto3's variables included."""
    aws: Clients

    def submission(self) -> Any:
        """API Gateway's envelope of a submission with an image."""
        event = self._sample("api-submit")
        event["headers"]["authorization"] = f"Bearer {self.stack.key}"
        del event["headers"]["idempotency-key"]
        return {**event, "body": json.dumps(self.spec())}

    def message(self, topic: Topic, item: str) -> Any:
        """A batch of one message, as Lambda hands it over."""
        event = self._sample("sqs-one")
        url = self.environment[f"SLIPWAY_QUEUE_{topic.upper()}"]
        event["Records"][0] |= {"body": item, "eventSourceARN": queue_arn(url)}
        return event

    def submit(self, **source: Any) -> str:
        """The new item's id."""
        status, answer = self.stack.ask("POST", "/v1/items", {**self.spec(), **source})
        assert status == 201, answer
        return str(answer["id"])

    def start(self) -> str:
        """The name of the training job of a new item, before anybody has heard of it."""
        item = self.submit()
        self.stack.pump()
        return f"slipway-{item}-1"

    def spec(self) -> dict[str, Any]:
        return {**JOB, "docker": {"docker_image": IMAGE}}

    def _sample(self, name: str) -> Any:
        return json.loads((ROOT / "events" / "aws" / f"{name}.json").read_text())


@contextmanager
def world(registry: str = "127.0.0.1:9", max_jobs: int = -1) -> Iterator[World]:
    """`registry`: host of the one that plays ECR; builds need it. `max_jobs`: of its queue, -1 for no cap."""
    events: deque[dict[str, Any]] = deque()
    with (
        moto_server() as url,
        SageMakerStandin(on_event=events.append) as sagemaker,
        CodeBuild(on_event=events.append) as codebuild,
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(LOG),
    ):
        places = environment(url, sagemaker=sagemaker.url, codebuild=codebuild.url)
        for name, value in places.items():
            patch.setenv(name, value)
        aws = Clients()
        open_ = {"SLIPWAY_PRIVATE_ADDRESSES": "true", "SLIPWAY_INSECURE_GIT": "true"}
        stack = deployed(
            *(aws, MemoryClock(time.time()), patch, sagemaker, codebuild, events),
            destination=f"{registry}/slipway",
            **open_,
        )
        status, answer = stack.ask("PUT", "/v1/queues/team/sagemaker", {**QUEUE, "max_jobs": max_jobs})
        assert status == 201, answer
        yield World(stack, {**places, **stack.environment}, aws)
