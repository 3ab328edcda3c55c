"""Logs of runs and builds: as text, or as server-sent events that can be followed and taken up again after a break.

A stream of events (https://html.spec.whatwg.org/multipage/server-sent-events.html) has, besides lines, `state` while
there is nothing to read yet, `error` when reading failed, `later` where this server may not answer for longer and wants
to be asked again, and `end`. A line's id is `<attempt>.<line>`, attempt 0 being
the build: with it in Last-Event-ID a client goes on where it was, also on another server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from enum import StrEnum
from functools import partial
from itertools import chain, islice
from typing import Annotated, cast

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from slipway.errors import NotFound, SlipwayError
from slipway.explain import explain
from slipway.model import ImageSource, Item, Json, Stage, State
from slipway.ports import Ports
from slipway.step import run_of
from slipway.views import error_document, masked
from slipway.web.access import OwnItem, PortsOf
from slipway.web.feed import feed

KEEP_ALIVE = 15.0
"""Seconds between comments on a silent stream: proxies drop it otherwise, and a client that left is noticed."""
SETTLE = 5.0
"""Seconds that `end` waits for the item to be over too, once its run is."""
_CHUNK = 1 << 16
_NO_BUFFERING = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1/items", tags=["logs"])


class LogSource(StrEnum):
    RUN = "run"
    BUILD = "build"


_LINES = "epoch 1: accuracy 0.91\nepoch 2: accuracy 0.94\n"
_EVENTS = 'id: 1.1\ndata: epoch 1: accuracy 0.91\n\nevent: end\ndata: {"state":"finished","reason":"","attempt":1}\n\n'


@router.get(
    "/{item_id}/logs",
    summary="Read or follow an item's log",
    response_class=Response,
    responses={
        200: {
            "description": "Plain text, or events when `follow` is set or `Accept` asks for `text/event-stream`.",
            "content": {"text/plain": {"example": _LINES}, "text/event-stream": {"example": _EVENTS}},
        }
    },
)
def logs(
    request: Request,
    item: OwnItem,
    ports: PortsOf,
    follow: Annotated[bool, Query(description="Go on until the run (or build) is over; wait for its start.")] = False,
    source: Annotated[LogSource, Query(description="Whose log.")] = LogSource.RUN,
    last_event_id: Annotated[str, Header(description="The id of the last event that was received.")] = "",
) -> Response:
    """The log of the item's run, or of its image's build, from the first line.

    Events carry one line each as `data`, with an `id`; a client that reconnects with `Last-Event-ID` gets what came
    after. `event: state` tells why there is nothing yet, `event: end` that nothing follows.
    """
    if follow or "text/event-stream" in request.headers.get("accept", ""):
        stream = _Stream(request, item, ports, source, follow, last_event_id)
        return StreamingResponse(stream.events(), media_type="text/event-stream", headers=_NO_BUFFERING)
    lines = _build_lines(item, ports) if source is LogSource.BUILD else _run_lines(item, ports, follow=False)
    chunks = _chunks(lines)
    if request.app.state.largest is not None:
        chunks = _whole(chunks, request.app.state.largest)
    # The first chunk is read here, where an error still becomes a status.
    text = chain([next(chunks, "")], chunks)
    return StreamingResponse(text, media_type="text/plain", headers={"Cache-Control": "no-store"})


class _Stream:
    """One client that reads events."""

    def __init__(
        self, request: Request, item: Item, ports: Ports, source: LogSource, follow: bool, last_event_id: str
    ) -> None:
        self._request = request
        self._item = item
        self._ports = ports
        self._source = source
        self._follow = follow
        self._look_every: float = request.app.state.look_every
        self._follow_for: float | None = request.app.state.follow_for
        self._largest: int | None = request.app.state.largest
        attempt, _, line = last_event_id.partition(".")
        numbers = attempt.isascii() and attempt.isdigit() and line.isascii() and line.isdigit()
        self._seen = (int(attempt[:9]), int(line[:9])) if numbers else (0, 0)

    async def events(self) -> AsyncGenerator[str, None]:
        try:
            reading = self._build() if self._source is LogSource.BUILD else self._run()
            began, size = asyncio.get_running_loop().time(), 0
            async for event in reading:
                yield event
                size += len(event.encode())
                if self._is_enough(asyncio.get_running_loop().time() - began, size):
                    yield _event({}, "later")
                    return
        except SlipwayError as error:
            yield _event(error_document(error), "error")
        item = self._item
        yield _event({"state": item.state.value, "reason": masked(item.reason), "attempt": item.attempt}, "end")

    def _is_enough(self, seconds: float, size: int) -> bool:
        """For one answer of this server."""
        late = self._follow and self._follow_for is not None and seconds >= self._follow_for
        return late or (self._largest is not None and size >= self._largest)

    async def _run(self) -> AsyncGenerator[str, None]:
        while True:
            async for event in self._wait_for_start():
                yield event
            attempt = self._item.attempt
            count = 0
            lines = partial(_run_lines, self._item, self._ports, follow=self._follow)
            quiet = 0.0
            async for batch in feed(lines, self._look_every):
                quiet = 0.0 if batch else quiet + self._look_every
                if await self._request.is_disconnected():
                    return
                for line in batch:
                    count += 1
                    if (attempt, count) > self._seen or attempt < self._seen[0]:
                        yield _line(line, attempt, count)
                if quiet >= KEEP_ALIVE:
                    quiet = 0.0
                    yield ": still here\n\n"
            await self._settle(attempt)
            if not self._follow or self._item.attempt == attempt:
                return

    async def _build(self) -> AsyncGenerator[str, None]:
        """A builder's log is read anew each time: builds are short, and not every builder can be followed."""
        count = 0
        while True:
            if await self._request.is_disconnected():
                return
            over = self._item.state not in (State.PENDING, State.BUILDING) or self._item.waiting
            try:
                lines = await run_in_threadpool(lambda: list(_build_lines(self._item, self._ports)))
            except NotFound:
                if over or not self._follow:
                    raise
                lines = []
            for line in islice(lines, count, None):
                count += 1
                if self._seen[0] or count > self._seen[1]:
                    yield _line(line, 0, count)
            if over or not self._follow:
                return
            await self._look()

    async def _wait_for_start(self) -> AsyncGenerator[str, None]:
        """Until it runs or is over. Says why it waits, whenever its state has changed."""
        told, quiet = None, 0.0
        while self._follow and self._item.state not in (State.RUNNING, *_OVER):
            if await self._request.is_disconnected():
                return
            quiet += self._look_every
            if told is not self._item.state:
                told = self._item.state
                sentence = (await run_in_threadpool(explain, self._item, self._ports)).sentence
                yield _event({"state": told.value, "sentence": sentence}, "state")
            elif quiet >= KEEP_ALIVE:
                quiet = 0.0
                yield ": still here\n\n"
            await self._look()

    async def _settle(self, attempt: int) -> None:
        waited = 0.0
        await self._look(0.0)
        while self._follow and waited < SETTLE and self._item.attempt == attempt and not self._item.state.terminal:
            waited += self._look_every
            await self._look()

    async def _look(self, after: float | None = None) -> None:
        await asyncio.sleep(self._look_every if after is None else after)
        now = await run_in_threadpool(self._ports.store.item, self._item.id)
        self._item = self._item if now is None else now


def _run_lines(item: Item, ports: Ports, *, follow: bool) -> Iterator[str]:
    if item.state in (State.PENDING, State.BUILDING):
        raise NotFound(f"item {item.id} has no log yet: it is {item.state}; `follow=true` waits for its start")
    if not follow and item.state.terminal and all(moment.state is not State.STARTING for moment in item.timeline):
        reason = item.reason.partition("\n")[0]
        raise NotFound(f"item {item.id} never ran, so there is no log: {item.state}: {reason}")
    return ports.targets(item.resource).logs(run_of(item), follow=follow)


def _build_lines(item: Item, ports: Ports) -> Iterator[str]:
    """From the builder where it keeps logs, else the end of the log that a failed build left with the item."""
    if isinstance(item.submission.job.source, ImageSource):
        raise NotFound(f"item {item.id} was submitted as an image: there was no build")
    record = None if item.image is None else ports.store.build(item.image)
    if record is not None:
        read = getattr(ports.builders(record.builder, None), "logs", None)
        if read is not None:
            return cast(Iterator[str], iter(read(record)))
    if item.stage is Stage.BUILD:
        return iter(item.reason.splitlines())
    raise NotFound(f"there is no log of a build for item {item.id}: its image was there already, or is not begun yet")


def _chunks(lines: Iterator[str]) -> Iterator[str]:
    chunk: list[str] = []
    size = 0
    for line in lines:
        chunk.append(line + "\n")
        size += len(line) + 1
        if size >= _CHUNK:
            yield "".join(chunk)
            chunk, size = [], 0
    yield "".join(chunk)


def _whole(chunks: Iterator[str], largest: int) -> Iterator[str]:
    """All of it at once: an answer that turned out too large half-way would be none."""
    read, size = list[str](), 0
    for chunk in chunks:
        read.append(chunk)
        size += len(chunk.encode())
        if size > largest:
            message = f"the log has more than {largest // 1024} KiB, and this server passes on no more at once"
            raise HTTPException(
                413, f"{message}; `slipway logs` reads it in parts, as does `Accept: text/event-stream`"
            )
    return iter(read)


def _line(line: str, attempt: int, number: int) -> str:
    # A carriage return (progress bars are full of them) ends a line of the stream too, and for Python's clients so does
    # whatever `splitlines` takes for an end.
    data = "".join(f"data: {part}\n" for part in line.splitlines() or [""])
    return f"id: {attempt}.{number}\n{data}\n"


def _event(content: Json, name: str) -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"


_OVER = (State.FINISHED, State.FAILED, State.STOPPED)
