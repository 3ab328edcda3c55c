"""The HTTP API without HTTP: an httpx transport that calls the ASGI application in this process, and streams.

So a command does the same thing, through the same code, whether a Slipway is up or not. httpx's own ASGI transport
keeps a response back until it is complete, which would hold up `logs -f` for as long as the job runs.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import httpx

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class InProcess(httpx.BaseTransport):
    """Each request runs in an event loop on a thread of its own; parts of the answer arrive as they are sent."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = _Call(self._app, request)
        start = call.next()
        if start is None:
            raise httpx.RemoteProtocolError("the application sent no response", request=request)
        return httpx.Response(start["status"], headers=start["headers"], stream=_Body(call))


class _Call:
    """One request. `next` gives the application's messages, then None; it raises what the application raised."""

    def __init__(self, app: Application, request: httpx.Request) -> None:
        self._app = app
        self._scope = _scope(request)
        self._body: bytes | None = request.read()
        self._messages: queue.SimpleQueue[Message | BaseException | None] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._gone = asyncio.Event()
        threading.Thread(target=self._run, name="in-process request", daemon=True).start()

    def next(self) -> Message | None:
        message = self._messages.get()
        if isinstance(message, BaseException):
            raise message
        return message

    def hang_up(self) -> None:
        """Nobody reads on: the application is told, as by a closed connection."""
        try:
            self._loop.call_soon_threadsafe(self._gone.set)
        except RuntimeError:
            return  # it has ended

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._app(self._scope, self._receive, self._send))
        except Exception as error:
            self._messages.put(error)
        finally:
            self._messages.put(None)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self._messages.put(message)


class _Body(httpx.SyncByteStream):
    def __init__(self, call: _Call) -> None:
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        while (message := self._call.next()) is not None:
            if message["type"] == "http.response.body":
                yield message.get("body", b"")
                if not message.get("more_body", False):
                    return

    def close(self) -> None:
        self._call.hang_up()


def _scope(request: httpx.Request) -> dict[str, Any]:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": (url.host, url.port or 80),
        "state": {},
    }
