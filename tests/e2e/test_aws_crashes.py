"""A function's process dies between any two of its calls to AWS, or never hears of what a call did: nothing is started
twice, and nothing is lost.

Each scenario is played once in peace, to count the calls of its functions, and then once for each of them with a
mishap there. CI plays some of the places, spread evenly; SLIPWAY_CRASHES is how many, or `all`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import botocore.handlers
import httpx
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.retries import standard
from tests import services
from tests.conditions import eventually
from tests.e2e.test_aws_functions import OPEN, SPEC, job_over_http, put_queue
from tests.standins.aws.deployment import MAX_RECEIVES
from tests.standins.aws.moto_server import HTPASSWD, environment
from tests.standins.aws.stack import Crash, Stack, deployment, running

from slipway.adapters.aws.clients import Clients
from slipway.model import Item, QueueKey, State, Topic

WANTED = os.environ.get("SLIPWAY_CRASHES", "6")
PLACES = None if WANTED == "all" else int(WANTED)
"""So many of each scenario and mishap."""
ROUNDS = 40
"""Minutes within which everything has come to its end."""
QUEUE = QueueKey("team", "sagemaker")
pytestmark = pytest.mark.timeout(120 if WANTED == "6" else 3600)


class Mishap(StrEnum):
    BEFORE = "the process dies before the call"
    AFTER = "the process dies once the call has taken effect"
    UNHEARD = "the call takes effect, and so do its repetitions, but no answer ever comes"
    REPEATED = "the call takes effect, its answer is lost, and boto3 repeats it"


@dataclass
class Trap:
    """Goes off at the call with this number (from 1) among those of the functions; 0 only counts."""

    place: int = 0
    mishap: Mishap = Mishap.BEFORE
    calls: list[str] = field(default_factory=list)
    armed: bool = False
    _lost: int = 0
    _here: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where botocore lets anybody listen, and where httpx sends; before any client is made."""
        listening = [
            ("before-call.*.*", lambda model, **_: self.before(model.name)),
            ("after-call.*.*", lambda **_: self.after()),
            ("before-send.*.*", lambda request, **_: self.sending(request)),
        ]
        monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*botocore.handlers.BUILTIN_HANDLERS, *listening])
        monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0)
        send = httpx.HTTPTransport.handle_request

        def asked(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            self.before(f"{request.method} {request.url.path.rpartition('/')[0]}")
            answer = send(transport, request)
            self.after()
            return answer

        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", asked)

    def before(self, operation: str) -> None:
        self._here.hit = False
        if not (self.armed and running.function):
            return
        with self._lock:
            if running.dead:
                # Its other threads get no further than their next call.
                raise Crash
            self.calls.append(f"{running.function}: {operation}")
            self._here.hit = len(self.calls) == self.place
        if self._here.hit and self.mishap is Mishap.BEFORE:
            running.die()

    def sending(self, request: Any) -> None:
        most = {Mishap.UNHEARD: 3, Mishap.REPEATED: 1}.get(self.mishap, 0)
        if getattr(self._here, "hit", False) and self._lost < most:
            self._lost += 1
            URLLib3Session().send(request)
            raise ReadTimeoutError(endpoint_url=request.url)

    def after(self) -> None:
        if self._here.hit and self.mishap is Mishap.AFTER:
            running.die()


# --- scenarios: what people and the world do. Both go on as if nothing had happened.


def two_in_line_for_one_slot(stack: Stack, repository: str) -> dict[str, State]:
    items = [submitted(stack, {**SPEC}, f"key-{number}") for number in range(2)]

    def world() -> None:
        for name, job in list(stack.sagemaker.jobs.items()):
            if not job.over:
                stack.sagemaker.finish(name)

    settled(stack, items, world)
    assert sorted(stack.sagemaker.jobs) == sorted(f"slipway-{item}-1" for item in items)
    return dict.fromkeys(items, State.FINISHED)


def one_that_is_cancelled_while_it_runs(stack: Stack, repository: str) -> dict[str, State]:
    item = submitted(stack, {**SPEC}, "key")
    stack.pump()
    for name in stack.sagemaker.jobs:
        stack.sagemaker.train(name)
    stack.pump()
    insisted(stack, "POST", f"/v1/items/{item}/cancel")
    settled(stack, [item], lambda: None)
    assert len(stack.sagemaker.jobs) <= 1
    return {item: State.STOPPED}


def two_of_one_source_whose_build_fails(stack: Stack, repository: str) -> dict[str, State]:
    spec = {name: value for name, value in SPEC.items() if name != "docker"} | {"uri": repository}
    items = [submitted(stack, spec, f"key-{number}") for number in range(2)]

    def world() -> None:
        building = [item.state is State.BUILDING for item in stored(stack, items)]
        for name, build in list(stack.codebuild.builds.items()):
            if all(building) and not build.over:
                stack.codebuild.end(name, "FAILED", "exit status 1")
                eventually(lambda: stack.events)

    settled(stack, items, world)
    assert len(stack.codebuild.builds) == 1
    return dict.fromkeys(items, State.FAILED)


Scenario = Callable[[Stack, str], dict[str, State]]
SCENARIOS: tuple[Scenario, ...] = (
    two_in_line_for_one_slot,
    one_that_is_cancelled_while_it_runs,
    two_of_one_source_whose_build_fails,
)


@pytest.mark.parametrize("mishap", Mishap, ids=lambda mishap: mishap.name.lower())
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_wherever_it_happens_nothing_is_started_twice_and_nothing_is_lost(
    moto: str, registry: str, repository: str, scenario: Scenario, mishap: Mishap
) -> None:
    peaceful = Trap()
    played(moto, registry, repository, scenario, peaceful)
    places = chosen(len(peaceful.calls), mishap)
    reached = 0
    for place in places:
        trap = Trap(place, mishap)
        try:
            stack = played(moto, registry, repository, scenario, trap)
        except AssertionError as error:
            raise AssertionError(f"{mishap}: {place}, {trap.calls[place - 1 : place]}: {error}") from error
        here = len(trap.calls) >= place
        assert stack.crashes == (here and mishap in (Mishap.BEFORE, Mishap.AFTER))
        reached += here
    # Messages that are worked on side by side may save each other a call or two.
    assert reached >= 0.8 * len(places)


def test_whoever_dies_of_a_message_each_time_leaves_a_dead_letter(moto: str, registry: str, repository: str) -> None:
    """And only that: after five deliveries SQS puts it aside, and the clock takes care of the item."""
    trap = Trap()
    with standing(moto, registry, trap) as stack:
        item = submitted(stack, {**SPEC}, "key")
        for _ in range(MAX_RECEIVES):
            trap.place = len(trap.calls) + 1
            stack.pump()
            stack.advance(361)
        trap.place = 0
        stack.pump()
        assert stack.crashes == MAX_RECEIVES
        assert stack.visible(Topic.ADVANCE, dead=True) == 1
        (letter,) = stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]
        assert insisted(stack, "POST", f"/v1/dead-letters/{letter['id']}/redrive") == ""
        settled(stack, [item], lambda: [stack.sagemaker.finish(name) for name in stack.sagemaker.jobs])
        assert [each.state for each in stored(stack, [item])] == [State.FINISHED]


# --- playing one


def chosen(calls: int, mishap: Mishap) -> list[int]:
    """Places from 1, spread evenly; another set for each mishap."""
    if PLACES is None or calls <= PLACES:
        return list(range(1, calls + 1))
    first = list(Mishap).index(mishap) / len(Mishap)
    return [1 + int((number + first) * calls / PLACES) for number in range(PLACES)]


def played(moto: str, registry: str, repository: str, scenario: Scenario, trap: Trap) -> Stack:
    with standing(moto, registry, trap) as stack:
        expected = scenario(stack, repository)
        assert {item.id: item.state for item in stored(stack, list(expected))} == expected
        store = stack.ports().store
        assert {item.id for item in store.items()} == set(expected)
        assert store.slots(QUEUE) == frozenset()
        assert [name for name, job in stack.sagemaker.jobs.items() if not job.over] == []
        assert [stack.visible(topic, dead=dead) for topic in Topic for dead in (False, True)] == [0] * 6
        return stack


@contextmanager
def standing(moto: str, registry: str, trap: Trap) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in environment(moto).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        trap.set(monkeypatch)
        with deployment(Clients(), registry, monkeypatch, **OPEN) as stack:
            put_queue(stack, max_jobs=1)
            trap.armed = True
            yield stack


def submitted(stack: Stack, spec: dict[str, Any], key: str) -> str:
    return str(insisted(stack, "POST", "/v1/items", spec, **{"idempotency-key": key})["id"])


def insisted(stack: Stack, method: str, path: str, document: Any = None, **headers: str) -> Any:
    """What a client does that gets no answer, or one that says "later"."""
    for _ in range(5):
        try:
            status, answer = stack.ask(method, path, document, **headers)
        except Crash:
            continue
        if status < 300:
            return answer
        assert status >= 500, answer
    raise AssertionError(f"{method} {path} is not answered")


def settled(stack: Stack, items: list[str], world: Callable[[], object]) -> None:
    """Time passes until the items are over, and whatever was in flight has landed."""
    for _ in range(ROUNDS):
        stack.pump()
        world()
        stack.pump()
        if all(item.state.terminal for item in stored(stack, items)):
            break
        stack.advance(60)
        stack.tick()
    for _ in range(2):
        stack.advance(400)
        stack.tick()
        stack.pump()


def stored(stack: Stack, items: list[str]) -> list[Item]:
    store = stack.ports().store
    return [item for item in map(store.item, items) if item is not None]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.oci_registry(tmp_path_factory.mktemp("ecr"), HTPASSWD) as host:
        yield host


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with job_over_http(Path(tmp_path_factory.mktemp("git"))) as address:
        yield address
