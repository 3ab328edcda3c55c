"""A deployment on AWS in this process: the functions of `sam/app.py` over moto and the stand-ins, and what AWS does
between them.

Every message really lies on moto's SQS and every record in its DynamoDB. What is played here is Lambda: it receives,
wraps messages as an event source mapping does, calls the handler, and deletes what did not fail; and EventBridge, whose
events come from the stand-ins. Each function is a process of its own: its module is loaded for it alone.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from tests.standins.aws.codebuild import CodeBuild
from tests.standins.aws.deployment import made, queue_arn
from tests.standins.aws.moto_server import ACCOUNT, REGION, unique
from tests.standins.aws.moto_speed import quick_moto
from tests.standins.aws.moto_sqs import clock_of_sqs
from tests.standins.aws.sagemaker import SageMakerStandin

from slipway import wire_aws
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.events import QUIET
from slipway.adapters.memory.clock import MemoryClock
from slipway.journal import journaled
from slipway.model import Topic
from slipway.ports import Ports

APP = Path(__file__).parents[3] / "sam" / "app.py"
VISIBILITY = 360
SOURCES: Mapping[Topic, tuple[str, int]] = {
    Topic.SUBMIT: ("advance", 10),
    Topic.ADVANCE: ("advance", 10),
    Topic.BUILD: ("build", 1),
}
"""Topic → which function its messages are for, and how many at once, as in the template."""


class Crash(BaseException):
    """The function's process is gone."""


@dataclass
class Running:
    """Which function runs, for whoever listens to its calls; empty between two. It may have threads of its own."""

    function: str = ""
    dead: bool = False
    """Its process is gone, whoever of its threads knows of it."""

    def die(self) -> NoReturn:
        self.dead = True
        raise Crash


running = Running()


@dataclass
class Context:
    """What Lambda tells of the invocation."""

    function_name: str
    aws_request_id: str
    memory_limit_in_mb: int = 512

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


@dataclass
class Stack:
    """One deployment. `clock` is everybody's, `events` is what EventBridge has not delivered yet."""

    aws: Clients
    clock: MemoryClock
    sagemaker: SageMakerStandin
    codebuild: CodeBuild
    environment: Mapping[str, str]
    monkeypatch: pytest.MonkeyPatch
    events: deque[dict[str, Any]]
    key: str = ""
    crashes: int = 0
    failures: list[str] = field(default_factory=list)
    """Functions that raised."""
    _loaded: dict[str, ModuleType] = field(default_factory=dict)
    _requests: Iterator[int] = field(default_factory=itertools.count)

    # --- what a user does
    def ask(self, method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
        """A request with the deployment's key: status and document, or what it is in place of one."""
        self.clock.advance(0.001)
        path, _, query = path.partition("?")
        body = None if document is None else json.dumps(document)
        sent = {"host": "api.example.com", "content-type": "application/json", "authorization": f"Bearer {self.key}"}
        http = {"method": method, "path": path, "sourceIp": "203.0.113.7"}
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "headers": {**sent, **headers},
            "requestContext": {"http": http, "stage": "$default"},
            "body": body,
            "isBase64Encoded": False,
        }
        answer = self.call("submit", event)
        told = answer["body"]
        is_json = answer["headers"].get("Content-Type", answer["headers"].get("content-type")) == "application/json"
        return answer["statusCode"], json.loads(told) if told and is_json else told

    def item(self, item_id: str) -> Any:
        status, document = self.ask("GET", f"/v1/items/{item_id}")
        assert status == 200, document
        return document

    # --- what AWS does
    def call(self, function: str, event: Any) -> Any:
        """One invocation, in the function's warm process."""
        if function not in self._loaded:
            self._loaded[function] = self._load(function)
        running.function = function
        context = Context(function, f"request-{next(self._requests)}")
        try:
            answer = getattr(self._loaded[function], function)(event, context)
        finally:
            dead, running.function, running.dead = running.dead, "", False
            if dead:
                self.crashes += 1
                del self._loaded[function]
        if dead:
            # Whoever calls a web application catches everything that comes out of it.
            raise Crash
        return answer

    def cool(self) -> None:
        """Every process ends, as those do that nobody calls for a while."""
        self._loaded.clear()

    def pump(self, limit: int = 2000) -> None:
        """Delivers messages and events until there are none that can be seen."""
        for _ in range(limit):
            delivered = [self._deliver_events(), *(self._deliver(topic) for topic in Topic)]
            if not any(delivered):
                return
        raise AssertionError(f"still messages after {limit} rounds")

    def tick(self) -> None:
        self._survive("tick", {})

    def advance(self, seconds: float) -> None:
        """Time passes for everybody."""
        self.clock.advance(seconds)
        self.sagemaker.advance(seconds)
        self.codebuild.advance(seconds)

    def visible(self, topic: Topic, *, dead: bool = False) -> int:
        url = self.environment[f"SLIPWAY_{'DEAD' if dead else 'QUEUE'}_{topic.upper()}"]
        name = "ApproximateNumberOfMessages"
        answer = self.aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(answer["Attributes"][name])  # type: ignore[literal-required]

    def _deliver_events(self) -> bool:
        there = bool(self.events)
        while self.events:
            event = self.events.popleft()
            if event["detail"].get("SecondaryStatus") not in QUIET:
                self._survive("observe", event)
        return there

    def _survive(self, function: str, event: Any) -> None:
        """EventBridge would deliver again; that an event is lost for good is the harder case."""
        try:
            self.call(function, event)
        except Crash:
            pass
        except Exception:
            self.failures.append(function)

    def _deliver(self, topic: Topic) -> bool:
        function, size = SOURCES[topic]
        url = self.environment[f"SLIPWAY_QUEUE_{topic.upper()}"]
        found = self.aws.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=size,
            VisibilityTimeout=VISIBILITY,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not found:
            return False
        records = [_record(each, url) for each in found]
        try:
            answer = self.call(function, {"Records": records})
        except Crash:
            return True
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        for each in found:
            if each["MessageId"] not in failed:
                self.aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return True

    def _load(self, function: str) -> ModuleType:
        """A process of its own, started cold."""
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location(f"app_of_{function}", APP)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.ports = cache(self.ports)  # type: ignore[attr-defined]
        return module

    def ports(self) -> Ports:
        """As a function has them, and on this stack's clock."""
        made = wire_aws.aws(wire_aws.settings_of(self.environment), self.clock)
        return replace(made, store=journaled(made.store))


@contextmanager
def deployment(
    aws: Clients, registry: str, monkeypatch: pytest.MonkeyPatch, docker: str | None = None, **environment: str
) -> Iterator[Stack]:
    """One over stand-ins of its own. `registry` plays ECR: where the template's repository is. With a `docker` command
    its builds really run."""
    clock = clock_of_sqs(monkeypatch)
    events: deque[dict[str, Any]] = deque()
    builds: dict[str, Any] = {} if docker is None else {"runs": True, "aws": aws, "docker": docker}
    with (
        SageMakerStandin(on_event=events.append) as sagemaker,
        CodeBuild(on_event=events.append, **builds) as codebuild,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", sagemaker.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", codebuild.url)
        yield deployed(
            aws, clock, monkeypatch, sagemaker, codebuild, events, destination=f"{registry}/slipway", **environment
        )


def deployed(
    aws: Clients,
    clock: MemoryClock,
    monkeypatch: pytest.MonkeyPatch,
    sagemaker: SageMakerStandin,
    codebuild: CodeBuild,
    events: deque[dict[str, Any]],
    *,
    destination: str,
    **environment: str,
) -> Stack:
    """What the template makes, made on moto; and the first key, from the function that makes it.

    The stand-ins put their events into `events`."""
    quick_moto(monkeypatch)
    name = unique("slipway")
    told = made(aws, name, destination=destination, **environment)
    stack = Stack(aws, clock, sagemaker, codebuild, told, monkeypatch, events)
    codebuild.create_project(name)
    _repository(aws, destination.partition("/")[2])
    stack.key = stack.call("submit", {"slipway": "create-key", "entity": "*", "name": "admin"})["key"]
    return stack


def _repository(aws: Clients, name: str) -> None:
    """One for all tests: the registry that plays ECR has it under this name."""
    with suppress(aws.ecr.exceptions.RepositoryAlreadyExistsException):
        aws.ecr.create_repository(repositoryName=name)


def _record(raw: Mapping[str, Any], url: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    attributes = {
        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
        for name, value in raw.get("MessageAttributes", {}).items()
    }
    return {
        "messageId": raw["MessageId"],
        "receiptHandle": raw["ReceiptHandle"],
        "body": raw["Body"],
        "attributes": raw["Attributes"],
        "messageAttributes": attributes,
        "md5OfBody": raw["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(url),
        "awsRegion": REGION,
    }
