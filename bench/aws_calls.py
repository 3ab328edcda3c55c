"""What each step of a launch asks of AWS, counted on a whole deployment in this process: by function, by call, and in
DynamoDB's units. It is no matter of speed, so it is the same on every machine.
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.handlers
import pytest
from dulwich import porcelain
from tests import services
from tests.conditions import eventually
from tests.git_over_http import GitOverHttp
from tests.pushing import push
from tests.standins.aws.moto_server import HTPASSWD
from tests.standins.aws.private_registry import LOGIN
from tests.standins.aws.stack import Stack, running

from bench.aws_units import Record, index_writes, read, write
from bench.aws_world import JOB, LOG, World, world
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.store_table import table_definition

WHO = b"Bench <bench@example.org>"
LOOK_AGAIN = 301.0
"""Seconds after which a tick looks at a run of which nothing was heard."""


@dataclass
class Use:
    """Of AWS, by one step."""

    invocations: Counter[str] = field(default_factory=Counter)
    """By function."""
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By function, service and operation."""
    batches: int = 0
    """Of messages, which Lambda received, handed over and deleted."""
    requests: int = 0
    """Of API Gateway."""
    reads: float = 0.0
    """DynamoDB's request units."""
    writes: float = 0.0
    log: int = 0
    """Bytes that the functions wrote."""

    def of(self, service: str) -> dict[str, int]:
        """Operation → how often."""
        found: Counter[str] = Counter()
        for (_, each, operation), number in self.calls.items():
            if each == service:
                found[operation] += number
        return dict(found)

    def __add__(self, other: Use) -> Use:
        return Use(
            self.invocations + other.invocations,
            self.calls + other.calls,
            self.batches + other.batches,
            self.requests + other.requests,
            self.reads + other.reads,
            self.writes + other.writes,
            self.log + other.log,
        )


IMAGE = (
    "submit: over HTTP, its image is there",
    "advance: admit, start the job",
    "observe: the job trains",
    "observe: the job is over",
)
GIT = (
    "submit: over HTTP, code from git",
    "build: fetch, pack, start a build; observe: it began",
    "observe: the image is there, start the job",
    *IMAGE[2:],
)
"""The steps of a launch."""
LOOK, IDLE = "tick: looks at one job", "tick: nothing is due"


def steps() -> Mapping[str, Use]:
    """Step → what it asked of AWS, in processes that are warm, with a cap on the queue."""
    with listening() as heard, tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        home = Path(folder)
        with (
            services.oci_registry(home, HTPASSWD) as registry,
            world(registry, max_jobs=20) as there,
            services.web(GitOverHttp(_repository(home))) as host,
        ):
            heard.aws = there.aws
            there.stack.sagemaker.registries.add(registry)
            found: dict[str, Use] = {}
            source = {"uri": f"http://{host}/digits.git"}
            # The first of everything makes clients, and fetches tokens.
            _image(there, heard, {})
            _git(there, heard, {}, source, registry)
            (home / "git" / "digits.git" / "train.py").write_text("print('changed')\n")
            _commit(home / "git" / "digits.git")
            _image(there, heard, found)
            _git(there, heard, found, source, registry)
            return found


def _image(there: World, heard: _Heard, found: dict[str, Use]) -> None:
    stack = there.stack
    with heard.during(IMAGE[0], found):
        item = there.submit()
    with heard.during(IMAGE[1], found):
        stack.pump()
    job = f"slipway-{item}-1"
    stack.sagemaker.train(job)
    with heard.during(IMAGE[2], found):
        stack.pump()
    stack.advance(LOOK_AGAIN)
    with heard.during(LOOK, found):
        stack.tick()
    stack.sagemaker.finish(job)
    with heard.during(IMAGE[3], found):
        stack.pump()
    with heard.during(IDLE, found):
        stack.tick()


def _git(there: World, heard: _Heard, found: dict[str, Use], source: Mapping[str, str], registry: str) -> None:
    stack = there.stack
    spec = {**JOB, **source, "overrides": {**JOB["overrides"], "entry_point": ["python3", "train.py"]}}
    with heard.during(GIT[0], found):
        status, answer = stack.ask("POST", "/v1/items", spec)
    assert status == 201, answer
    with heard.during(GIT[1], found):
        stack.pump()
        # CodeBuild's events come from a thread of its own.
        eventually(lambda: stack.events or heard.use.invocations["observe"], within=10)
        stack.pump()
    build = list(stack.codebuild.builds)[-1]
    image = stack.item(answer["id"])["image"].removeprefix(f"{registry}/")
    repository, _, tag = image.partition(":")
    push(registry, repository, tag, LOGIN)
    stack.codebuild.end(build)
    eventually(lambda: stack.events, within=10)
    with heard.during(GIT[2], found):
        stack.pump()
    job = f"slipway-{answer['id']}-1"
    stack.sagemaker.finish(job)
    stack.pump()


def _repository(home: Path) -> Path:
    path = home / "git" / "digits.git"
    path.mkdir(parents=True)
    porcelain.init(path).close()
    (path / "train.py").write_text("import sys\nprint('trained for', *sys.argv[1:])\n")
    (path / "requirements.txt").write_text("")
    (path / "Dockerfile.wandb").write_text(f"FROM {services.BASE_IMAGE}\nWORKDIR /job\nCOPY . /job\nUSER 1000\n")
    _commit(path)
    return path.parent


def _commit(path: Path) -> None:
    porcelain.add(path, [str(each) for each in path.iterdir() if each.is_file()])
    porcelain.commit(path, message=b"A job", author=WHO, committer=WHO)


class _Heard:
    """Hears the calls of the functions, from every client that is made while `listening`."""

    def __init__(self) -> None:
        self.use = Use()
        self.aws: Clients | None = None
        """For its own look at records, which is not counted."""
        self._thread = threading.local()

    @contextmanager
    def during(self, step: str, found: dict[str, Use]) -> Iterator[None]:
        self.use = Use()
        begun = LOG.tell()
        yield
        self.use.log = LOG.tell() - begun
        found[step] = self.use
        self.use = Use()

    def invoked(self, function: str, event: Any) -> None:
        self.use.invocations[function] += 1
        self.use.batches += "Records" in event
        self.use.requests += "requestContext" in event

    def asks(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if not self._counts:
            return
        service, operation = model.service_model.service_name, model.name
        self.use.calls[running.function, service, operation] += 1
        if service == "dynamodb":
            self._thread.asked = params
            self._thread.before = self._records(_written(operation, params))

    def answered(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if not self._counts or model.service_model.service_name != "dynamodb":
            return
        params = self._thread.asked
        match model.name:
            case "GetItem":
                self.use.reads += read([parsed["Item"]] if "Item" in parsed else [], consistent=True)
            case "Query":
                self.use.reads += read(parsed["Items"], consistent="IndexName" not in params)
            case "BatchGetItem":
                for records in parsed["Responses"].values():
                    self.use.reads += sum(read([record], consistent=True) for record in records)
            case operation:
                after = self._records(_written(operation, params))
                for old, new in zip(self._thread.before, after, strict=True):
                    self.use.writes += write(old, new, transaction=operation == "TransactWriteItems")
                    self.use.writes += index_writes(old, new, table_definition("any"))

    @property
    def _counts(self) -> bool:
        return bool(running.function) and self.aws is not None and not getattr(self._thread, "looks", False)

    def _records(self, places: list[tuple[str, Record]]) -> list[Record | None]:
        assert self.aws is not None
        self._thread.looks = True
        try:
            client = self.aws.dynamodb
            return [
                client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")  # type: ignore[arg-type]
                for table, key in places
            ]
        finally:
            self._thread.looks = False


@contextmanager
def listening() -> Iterator[_Heard]:
    heard = _Heard()
    call: Callable[[Stack, str, Any], Any] = Stack.call

    def counted(stack: Stack, function: str, event: Any) -> Any:
        heard.invoked(function, event)
        return call(stack, function, event)

    with pytest.MonkeyPatch.context() as patch:
        handlers = [
            ("before-parameter-build.*.*", heard.asks),
            ("after-call.*.*", heard.answered),
            ("after-call.ecr.GetAuthorizationToken", _renewed),
        ]
        patch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*botocore.handlers.BUILTIN_HANDLERS, *handlers])
        patch.setattr(Stack, "call", counted)
        yield heard


def _renewed(parsed: dict[str, Any], **_: Any) -> None:
    """ECR's logins are good for 12 hours. moto's ended in 2015, and would be asked for at each use."""
    for data in parsed["authorizationData"]:
        data["expiresAt"] = datetime.now(UTC) + timedelta(hours=12)


def _written(operation: str, params: Mapping[str, Any]) -> list[tuple[str, Record]]:
    """Table and key of each record that a call writes."""
    if operation in ("GetItem", "Query", "BatchGetItem"):
        return []
    actions = [params]
    if operation == "TransactWriteItems":
        actions = [inner for action in params["TransactItems"] for inner in action.values()]
    return [(each["TableName"], each.get("Key") or _key(each["Item"])) for each in actions]


def _key(record: Record) -> Record:
    return {name: record[name] for name in ("pk", "sk")}
