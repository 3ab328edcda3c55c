"""Logs over HTTP: as text, as events, taken up again, and left."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conditions import eventually
from tests.entries.http_api import Api, error_of
from tests.functions.world import REPOSITORY, World

from slipway.errors import Temporary
from slipway.functions.advance import advance
from slipway.model import Build, Item, Launch, RunPhase, RunRef, RunStatus
from slipway.ports import Target

EVENTS = {"Accept": "text/event-stream"}


@dataclass
class Talkative:
    """The memory target, saying what a test wants."""

    inner: Target
    say: Callable[[RunRef, bool], Iterator[str]]
    look_again: float = 60.0
    start_lease: float = 60.0

    def live(self) -> Sequence[RunRef]:
        return self.inner.live()

    def start(self, launch: Launch) -> RunStatus:
        return self.inner.start(launch)

    def status(self, run: RunRef) -> RunStatus:
        return self.inner.status(run)

    def stop(self, run: RunRef) -> None:
        self.inner.stop(run)

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        return self.say(run, follow)


def saying(say: Callable[[RunRef, bool], Iterator[str]], **options: Any) -> Api:
    api = Api(World(wrap_target=lambda target: Talkative(target, say)), options=options)
    api.put_queue()
    return api


def running(api: Api) -> str:
    item = api.submit()
    api.world.deliver_all()
    return item


def stored(api: Api, item_id: str) -> Item:
    item = api.world.store.item(item_id)
    assert item is not None
    return item


def finish(api: Api, item_id: str, phase: RunPhase = RunPhase.FINISHED) -> None:
    api.world.end(stored(api, item_id), phase)
    advance(item_id, api.world.ports)


def events(text: str) -> list[dict[str, str]]:
    """As a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        event: dict[str, str] = {}
        for line in block.splitlines():
            field, _, value = line.partition(": ")
            if field:
                event[field] = f"{event[field]}\n{value}" if field in event else value
        if event:
            found.append(event)
    return found


def lines_of(text: str) -> list[str]:
    return [event["data"] for event in events(text) if "id" in event]


def test_a_log_is_plain_text_from_its_first_line() -> None:
    api = saying(lambda run, follow: iter(["eins", "zwei größe 🚢"]))
    answer = api.ask("GET", f"/v1/items/{running(api)}/logs")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "eins\nzwei größe 🚢\n"


def test_a_long_log_arrives_whole() -> None:
    api = saying(lambda run, follow: (f"line {number}" for number in range(50_000)))
    lines = api.ask("GET", f"/v1/items/{running(api)}/logs").text.splitlines()
    assert (len(lines), lines[-1]) == (50_000, "line 49999")


def test_a_backend_that_does_not_answer_is_a_status_not_an_empty_log() -> None:
    def say(run: RunRef, follow: bool) -> Iterator[str]:
        raise Temporary("the engine does not answer")
        yield ""

    api = saying(say)
    answer = api.ask("GET", f"/v1/items/{running(api)}/logs")
    assert (answer.status_code, error_of(answer)["kind"]) == (503, "temporary")


def test_a_log_that_does_not_exist_yet_says_so() -> None:
    api = saying(lambda run, follow: iter([]))
    answer = api.ask("GET", f"/v1/items/{api.submit()}/logs")
    assert answer.status_code == 404
    assert "pending" in error_of(answer)["message"]


def test_followed_lines_are_numbered_events_and_the_end_is_one_too() -> None:
    api = saying(lambda run, follow: iter(["eins", "zwei"]))
    item = running(api)
    finish(api, item)
    answer = api.ask("GET", f"/v1/items/{item}/logs?follow=true")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    first, second, end = events(answer.text)
    assert (first, second) == ({"id": "1.1", "data": "eins"}, {"id": "1.2", "data": "zwei"})
    assert end["event"] == "end"
    assert json.loads(end["data"])["state"] == "finished"


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(blacklist_characters="\n"), max_size=20), max_size=20), seen=st.integers(0, 25)
)
def test_a_client_that_comes_back_gets_the_rest_and_only_that(lines: list[str], seen: int) -> None:
    api = saying(lambda run, follow: iter([line.encode("utf-8", "replace").decode() for line in lines]))
    item = running(api)
    finish(api, item)
    whole = api.ask("GET", f"/v1/items/{item}/logs", headers=EVENTS)
    rest = api.ask("GET", f"/v1/items/{item}/logs", headers={**EVENTS, "Last-Event-ID": f"1.{seen}"})
    blocks = [block for block in whole.text.split("\n\n") if block.startswith("id: ")]
    assert len(blocks) == len(lines)
    fields = ("id: ", "data: ", "event: ")
    assert all(line.startswith(fields) for line in whole.text.splitlines() if line)
    assert [block for block in rest.text.split("\n\n") if block.startswith("id: ")] == blocks[seen:]


@pytest.mark.parametrize("last", ["", "x", "1.", ".5", "1.x", "-1.5", "٣.٣", "9" * 5000 + ".1"])
def test_a_last_event_id_of_someone_else_is_ignored(last: str) -> None:
    api = saying(lambda run, follow: iter(["eins"]))
    item = running(api)
    answer = api.ask("GET", f"/v1/items/{item}/logs", headers=[*EVENTS.items(), ("Last-Event-ID", last.encode())])
    assert lines_of(answer.text) == ["eins"]


def test_a_progress_bar_cannot_forge_an_event() -> None:
    api = saying(lambda run, follow: iter(["10 %\r20 %\revent: end"]))
    found = events(api.ask("GET", f"/v1/items/{running(api)}/logs", headers=EVENTS).text)
    assert found[0] == {"id": "1.1", "data": "10 %\n20 %\nevent: end"}
    assert [event.get("event") for event in found] == [None, "end"]


def test_following_waits_for_the_start_and_says_why() -> None:
    api = saying(lambda run, follow: iter(["eins"]))
    item = api.submit()
    answers: list[str] = []
    follower = threading.Thread(
        target=lambda: answers.append(api.ask("GET", f"/v1/items/{item}/logs?follow=true").text), daemon=True
    )
    follower.start()
    api.world.deliver_all()
    finish(api, item)
    follower.join(20)
    found = events(answers[0])
    assert lines_of(answers[0]) == ["eins"]
    assert [event.get("event") for event in found if "event" in event][-1] == "end"


def test_following_an_item_that_waits_tells_the_sentence_and_ends_when_it_is_cancelled() -> None:
    api = saying(lambda run, follow: iter([]))
    api.ask("POST", "/v1/queues/team/gpu/pause")
    item = api.submit()
    looks = api.world.store.item
    asked = threading.Event()

    def item_and_cancel(item_id: str) -> Item | None:
        """The first look of the follower: by then it has told why it waits."""
        if not asked.is_set():
            asked.set()
            return looks(item_id)
        api.world.store.item = looks  # type: ignore[method-assign]
        api.ask("POST", f"/v1/items/{item}/cancel")
        return looks(item_id)

    api.world.store.item = item_and_cancel  # type: ignore[method-assign]
    found = events(api.ask("GET", f"/v1/items/{item}/logs?follow=true").text)
    assert [event["event"] for event in found] == ["state", "end"]
    assert "paused" in json.loads(found[0]["data"])["sentence"]
    assert json.loads(found[1]["data"])["state"] == "stopped"


def test_following_goes_on_with_the_next_attempt_after_a_preemption() -> None:
    def say(run: RunRef, follow: bool) -> Iterator[str]:
        yield f"attempt {run.attempt}"
        finish(api, run.item_id, RunPhase.PREEMPTED if run.attempt == 1 else RunPhase.FINISHED)
        api.world.deliver_all()

    api = saying(say)
    found = events(api.ask("GET", f"/v1/items/{running(api)}/logs?follow=true").text)
    lines = [event for event in found if "id" in event]
    assert lines == [{"id": "1.1", "data": "attempt 1"}, {"id": "2.1", "data": "attempt 2"}]
    assert json.loads(found[-1]["data"])["state"] == "finished"


def test_an_error_while_following_is_an_event() -> None:
    def say(run: RunRef, follow: bool) -> Iterator[str]:
        yield "eins"
        raise Temporary("the engine went away")

    api = saying(say)
    found = events(api.ask("GET", f"/v1/items/{running(api)}/logs?follow=true").text)
    assert [event.get("event") for event in found] == [None, "error", "end"]
    assert json.loads(found[1]["data"])["error"]["kind"] == "temporary"


def test_a_client_that_leaves_a_silent_log_ends_the_stream_and_its_thread() -> None:
    go_on, closed = threading.Event(), threading.Event()

    def say(run: RunRef, follow: bool) -> Iterator[str]:
        try:
            yield "eins"
            go_on.wait(30)
            yield "zwei"
            yield "drei"
        finally:
            closed.set()

    api = saying(say)
    item = running(api)

    async def leave() -> list[str]:
        left = asyncio.Event()
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            if sent:
                await left.wait()
                return {"type": "http.disconnect"}
            sent.append("")
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message.get("body", b"").decode())
            if "eins" in sent[-1]:
                left.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/v1/items/{item}/logs",
            "raw_path": b"",
            "query_string": b"follow=true",
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {api.key}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await asyncio.wait_for(api.app(scope, receive, send), 20)
        return sent

    sent = asyncio.run(leave())
    assert "zwei" not in "".join(sent)
    go_on.set()
    assert eventually(closed.is_set)
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name == "slipway-log-reader"])


def test_a_failed_builds_log_is_its_end() -> None:
    """The last lines of a failed build stay with the item."""
    api = Api(World(instant=False))
    api.put_queue()
    spec = {"entity": "team", "project": "p", "queue": "gpu", "uri": REPOSITORY}
    item = api.ask("POST", "/v1/items", {**spec, "overrides": {"entry_point": ["python", "train.py"]}}).json()["id"]
    api.world.deliver_all()
    image = stored(api, item).image
    assert image is not None
    api.world.builder.end(image, failure="no such package: torhc")
    advance(item, api.world.ports)
    assert "torhc" in api.ask("GET", f"/v1/items/{item}/logs?source=build").text
    found = events(api.ask("GET", f"/v1/items/{item}/logs?source=build&follow=true").text)
    assert found[0]["id"] == "0.1"
    assert found[-1]["event"] == "end"


def test_a_builder_that_keeps_logs_is_asked_for_them() -> None:
    api = Api(World(instant=False))
    api.put_queue()
    spec = {"entity": "team", "project": "p", "queue": "gpu", "uri": REPOSITORY}
    item = api.ask("POST", "/v1/items", {**spec, "overrides": {"entry_point": ["python", "train.py"]}}).json()["id"]
    api.world.deliver_all()
    asked: list[Build] = []

    def logs(build: Build) -> Iterator[str]:
        asked.append(build)
        yield "step 1"
        if len(asked) > 1:
            yield "step 2"
            api.world.builder.end(build.image)
            advance(item, api.world.ports)

    api.world.builder.logs = logs  # type: ignore[attr-defined]
    found = api.ask("GET", f"/v1/items/{item}/logs?source=build&follow=true").text
    assert lines_of(found) == ["step 1", "step 2"]
    assert asked[0].image == stored(api, item).image


def test_an_item_that_came_as_an_image_has_no_build_log() -> None:
    api = saying(lambda run, follow: iter([]))
    answer = api.ask("GET", f"/v1/items/{running(api)}/logs?source=build")
    assert (answer.status_code, error_of(answer)["kind"]) == (404, "not_found")


def test_a_server_that_may_not_answer_for_long_asks_to_be_asked_again() -> None:
    """C1: behind API Gateway an answer is whole or not at all, within half a minute."""
    api = saying(lambda run, follow: iter(["a", "b"]), follow_for=0.0)
    item = running(api)
    first = events(api.ask("GET", f"/v1/items/{item}/logs?follow=true").text)
    assert [event.get("event", event["data"]) for event in first] == ["a", "later"]
    rest = events(api.ask("GET", f"/v1/items/{item}/logs?follow=true", headers={"Last-Event-ID": first[0]["id"]}).text)
    assert [event.get("event", event["data"]) for event in rest] == ["b", "later"]


def test_a_log_that_is_too_large_for_one_answer_comes_in_parts() -> None:
    lines = [f"line {number}" for number in range(1000)]
    api = saying(lambda run, follow: iter(lines), largest=4096)
    item = running(api)
    finish(api, item)
    read, last, parts = list[str](), "", 0
    found: list[dict[str, str]] = []
    while not found or found[-1]["event"] == "later":
        found = events(api.ask("GET", f"/v1/items/{item}/logs", headers={**EVENTS, "Last-Event-ID": last}).text)
        read += [event["data"] for event in found[:-1]]
        last, parts = found[-2]["id"], parts + 1
    assert (read, parts > 2) == (lines, True)
    refused = api.ask("GET", f"/v1/items/{item}/logs")
    assert (refused.status_code, "in parts" in error_of(refused)["message"]) == (413, True)
