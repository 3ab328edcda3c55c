"""How commands reach a Slipway: through its address, through the data folder's `up.json`, or in their own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cli import instance
from slipway.cli.client import Client, connect
from slipway.cli.inprocess import InProcess, Receive, Send
from slipway.cli.instance import Instance, start_time
from slipway.errors import AlreadyExists, NotFound, Temporary

URL = "http://127.0.0.1:8765"


def own(**changes: Any) -> Instance:
    return replace(Instance(os.getpid(), start_time(os.getpid()), URL, 3, keyless=True), **changes)


def write(home: Path, instance: Instance, name: str = "up.json") -> None:
    fields = ("pid", "start_time", "url", "workers", "keyless")
    (home / name).write_text(json.dumps({field: getattr(instance, field) for field in fields}))


@pytest.fixture
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLIPWAY_ENDPOINT", "SLIPWAY_API_KEY", "SLIPWAY_HOME"):
        monkeypatch.delenv(name, raising=False)


pytestmark = pytest.mark.usefixtures("_no_environment")


def test_the_slipway_of_the_data_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path, own())
    client = connect(None, tmp_path)
    assert (str(client.http.base_url), client.direct, client.idle) == (URL, False, False)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "{}",
        '{"pid": 1, "start_time": 1, "url": "http://127.0.0.1:8765"}',
        '{"pid": THIS, "start_time": 1, "url": "http://127.0.0.1:8765"}',
        '{"pid": "me", "start_time": 5}',
    ],
)
def test_what_a_killed_process_left_behind_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "up.json").write_text(content.replace("THIS", str(os.getpid())))
    client = connect(None, tmp_path)
    assert (client.direct, client.idle) == (True, True)


def test_workers_without_http_are_known_of(tmp_path: Path) -> None:
    write(tmp_path, own(url=None), "up-1.json")
    client = connect(None, tmp_path)
    assert (client.direct, client.idle) == (True, False)


def test_who_has_no_key_for_a_local_slipway_goes_straight_to_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, own(keyless=False))
    assert connect(None, tmp_path).direct
    monkeypatch.setenv("SLIPWAY_API_KEY", "slip_abc")
    client = connect(None, tmp_path)
    assert (client.direct, client.http.headers["Authorization"]) == (False, "Bearer slip_abc")


def test_an_endpoint_goes_before_the_environment_and_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, own())
    monkeypatch.setenv("SLIPWAY_ENDPOINT", "https://env.example.com")
    assert connect("https://flag.example.com", tmp_path).http.base_url.host == "flag.example.com"
    assert connect(None, None).http.base_url.host == "env.example.com"
    assert connect(None, tmp_path).http.base_url.host == "127.0.0.1"


def test_only_one_process_serves_a_data_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from slipway.cli.instance import only_server\n"
        "with only_server(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyExists, match="--no-http"), instance.only_server(tmp_path):
            pass
        other.kill()
    with instance.only_server(tmp_path):
        pass  # the kernel gave the lock of the killed one back


def test_a_process_that_is_over_counts_no_more_although_nobody_asked_for_its_end(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        write(tmp_path, own(pid=child.pid, start_time=start_time(child.pid)))
        assert instance.serving(tmp_path) is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert instance.serving(tmp_path) is None


def test_an_announcement_lasts_as_long_as_its_process_works(tmp_path: Path) -> None:
    write(tmp_path, own(start_time=1, url=None), "up-99.json")
    with instance.announced(tmp_path, own()):
        assert instance.alive(tmp_path) == [own()]
        assert not (tmp_path / "up-99.json").exists()
    assert list(tmp_path.iterdir()) == []


# --- in this process


def client_of(app: Any) -> Client:
    return Client(httpx.Client(transport=InProcess(app), base_url="http://localhost"))


async def _answer(send: Send, *parts: bytes, status: int = 200, more: bool = False) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    if not more:
        await send({"type": "http.response.body", "body": b""})


@given(st.binary(max_size=200), st.lists(st.binary(max_size=20), max_size=4))
def test_what_goes_in_and_comes_out_is_whole(body: bytes, parts: list[bytes]) -> None:
    heard: list[bytes] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append((await receive())["body"])
        await _answer(send, *parts)

    response = client_of(app).request("POST", "/v1/items", content=body)
    assert (heard, response.content) == ([body], b"".join(parts))


def test_lines_arrive_while_the_application_goes_on() -> None:
    go_on = threading.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await _answer(send, b"data: first\n\n", more=True)
        assert go_on.wait(10)
        await send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n", "more_body": False})

    events = client_of(app).events("/v1/items/x/logs")
    assert next(events).data == "first"
    go_on.set()
    assert list(events) == []


def test_an_application_is_told_that_its_reader_left() -> None:
    told = threading.Event()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await _answer(send, b"data: first\n\n", more=True)
        if (await receive())["type"] == "http.disconnect":
            told.set()

    events = client_of(app).events("/v1/items/x/logs")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert told.wait(10)


def test_what_an_application_raises_is_raised_here() -> None:
    class Bug(Exception):
        pass

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        raise Bug

    with pytest.raises(Bug):
        client_of(app).get("/v1/items")


def test_an_application_that_says_nothing_is_unreachable() -> None:
    async def app(scope: Any, receive: Receive, send: Send) -> None:
        return None

    with pytest.raises(Temporary):
        client_of(app).get("/v1/items")


# --- events


def stream(text: str) -> Client:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    return Client(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://localhost"))


def lines(text: str) -> Iterator[str]:
    return (event.data for event in stream(text).events("/logs"))


def test_events_are_read_until_the_end() -> None:
    text = (
        'event: state\ndata: {"state": "pending"}\n\n: still here\n\nid: 1.1\ndata: a\n\ndata:\n\ndata: b\ndata: c\n\n'
    )
    events = list(stream(text + "event: end\ndata: {}\n\ndata: late\n\n").events("/logs"))
    assert [event.kind for event in events] == ["state", "message", "message", "message"]
    assert [event.data for event in events[1:]] == ["a", "", "b\nc"]


def test_an_error_in_the_stream_is_raised_as_what_it_is() -> None:
    error = json.dumps({"error": {"kind": "not_found", "message": "no log", "problems": []}})
    with pytest.raises(NotFound, match="no log"):
        list(lines(f"data: a\n\nevent: error\ndata: {error}\n\n"))


def test_a_stream_that_breaks_off_is_not_taken_for_its_end() -> None:
    read = lines("data: a\n\n")
    assert next(read) == "a"
    with pytest.raises(Temporary, match="broken off"):
        next(read)


def test_a_stream_that_goes_on_later_is_asked_for_from_where_it_was() -> None:
    texts = {"": "id: 1.1\ndata: a\n\nevent: later\ndata: {}\n\n", "1.1": "data: b\n\nevent: end\ndata: {}\n\n"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=texts[request.headers.get("Last-Event-ID", "")])

    client = Client(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://localhost"))
    assert [event.data for event in client.events("/logs")] == ["a", "b"]
