"""One client for every command: the HTTP API, wherever it is.

1. `--endpoint URL` or SLIPWAY_ENDPOINT, with the key in SLIPWAY_API_KEY, else that of a login there;
2. else, where no data folder is named, the Slipway that `slipway login` was for;
3. else the `slipway up` of this data folder, found through its `up.json`;
4. else the same application run in this process, straight on the data folder. Nothing runs there, so what needs workers
   waits for them, and `Client.idle` says so.

Where a local `slipway up` wants keys and none is set, way 4 is taken: who may read the data folder owns it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from slipway.cli import instance
from slipway.cli.login import Kept
from slipway.errors import AlreadyExists, Forbidden, Invalid, NotFound, Permanent, Problem, SlipwayError, Temporary
from slipway.model import Json

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""Seconds. An answer may include one step of an item, such as asking a backend to stop its run."""


class Event(NamedTuple):
    """A server-sent event: `message` where it names no other kind."""

    kind: str
    data: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """`idle`: nothing is running on this data folder. `direct`: requests are answered in this process."""

    http: httpx.Client
    direct: bool = False
    idle: bool = False

    def get(self, path: str, **query: Any) -> Json:
        return self.request("GET", path, params=query).json()

    def post(self, path: str) -> Json:
        return self.request("POST", path).json()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Raises the SlipwayError that the answer stands for, and Temporary when there is none."""
        if "params" in options:
            options["params"] = {name: value for name, value in options["params"].items() if value is not None}
        try:
            response = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise error_of(response)
        return response

    def events(self, path: str, **query: Any) -> Iterator[Event]:
        """Server-sent events until `end`; a server that says `later` is asked again from where it was. Raises what an
        `error` event stands for."""
        last, more = "", True
        while more:
            more = False
            for event in self._stream(path, last, query):
                last = event.id or last
                match event.kind:
                    case "end":
                        return
                    case "later":
                        more = True
                    case "error":
                        raise _error(event.data) or Temporary(event.data)
                    case _:
                        yield event
        raise Temporary("the stream was broken off; ask again")

    def _stream(self, path: str, last: str, query: dict[str, Any]) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = httpx.Timeout(5.0, read=None)
        try:
            with self.http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise error_of(response)
                yield from _events(response.iter_lines())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> Temporary:
        if isinstance(error, httpx.TimeoutException):
            return Temporary(f"{self.http.base_url} did not answer in time ({error})")
        return Temporary(f"cannot reach {self.http.base_url} ({error}). Is Slipway up there? Check --endpoint")


def connect(endpoint: str | None, data: Path | None, *, direct: bool = False) -> Client:
    """The client for what the options and the environment say. `direct` passes over a running `slipway up`: for what
    the owner of the data folder may do, with or without a key."""
    key = os.environ.get("SLIPWAY_API_KEY") or None
    endpoint = endpoint or (None if data else os.environ.get("SLIPWAY_ENDPOINT") or None)
    login = Kept.of_this_user().read()
    if endpoint:
        kept = login.key if login is not None and login.endpoint == endpoint.rstrip("/") else None
        return at(endpoint, key or kept)
    if login is not None and data is None and not os.environ.get("SLIPWAY_HOME"):
        return at(login.endpoint, key or login.key)
    home = home_of(data)
    up = instance.serving(home)
    if up is not None and up.url and not direct and (up.keyless or key):
        return at(up.url, key)
    return Client(_in_process(home), direct=True, idle=not instance.alive(home))


def at(endpoint: str, key: str | None) -> Client:
    """The client for an endpoint. Raises Invalid for what is no URL."""
    return Client(_over_http(endpoint, key))


def home_of(data: Path | None) -> Path:
    from slipway.wire import Settings

    return data.expanduser().resolve() if data else Settings.default_home()


def path(*segments: str) -> str:
    """`/v1/…` of these segments, each quoted: names may hold any letter."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def error_of(response: httpx.Response) -> SlipwayError:
    """The error that an answer stands for; total over every answer, Slipway's or not."""
    known = _error(response.text)
    if known is not None:
        return known
    message = f"{response.request.url} answered {response.status_code}, and not as Slipway does. Check --endpoint"
    return Temporary(message) if response.status_code >= 500 else Permanent(message)


def _over_http(endpoint: str, key: str | None) -> httpx.Client:
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        raise _no_url(endpoint) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _no_url(endpoint)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # A proxy of the environment is for the world outside, not for a Slipway on this machine.
    return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=url.host not in _LOOPBACK)


_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _no_url(endpoint: str) -> Invalid:
    return Invalid(Problem("--endpoint", "is no http or https URL", endpoint, "For example http://127.0.0.1:8765."))


def _in_process(home: Path) -> httpx.Client:
    from slipway import wire
    from slipway.cli.inprocess import InProcess
    from slipway.web.app import create_app

    # Which sources are taken is for the `slipway up` to say that will run the item.
    ports = wire.local(wire.Settings(home, local_paths=True, private_addresses=True, insecure_git=True))
    app = create_app(ports, keyless=True, workers=lambda: bool(instance.alive(home)))
    return httpx.Client(transport=InProcess(app), base_url="http://localhost", timeout=TIMEOUT)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html: an empty line ends an event."""
    kind, data, last = "message", list[str](), ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last = value
        elif not line:
            if data:
                yield Event(kind, "\n".join(data), last)
            kind, data = "message", []


def _error(text: str) -> SlipwayError | None:
    """Of the API's error document; None where the text is none."""
    try:
        error = json.loads(text)["error"]
        message = str(error["message"])
        problems = [
            Problem(str(each["field"]), str(each["rule"]), each.get("value"), str(each.get("fix") or ""))
            for each in error.get("problems") or ()
        ]
        kind = error["kind"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    match kind:
        case "invalid":
            return Invalid(problems or Problem("request", message))
        case "unauthorised":
            return Forbidden(f"{message} (`slipway login`, or SLIPWAY_API_KEY, is where this command takes it from)")
        case "forbidden":
            return Forbidden(message)
        case "not_found":
            return NotFound(message)
        case "conflict":
            return AlreadyExists(message)
        case _:
            return Temporary(message)
