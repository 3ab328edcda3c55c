"""Lines that a blocking iterator gives, as an async generator that can be left at any time.

A log that is followed may be silent for hours. Its reader gets a thread of its own, not one of the server's pool, which
would soon be used up; and that thread is a daemon, so that a silent log does not keep the server from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from slipway.errors import Temporary

MAX_READERS = 200
"""Threads that read logs at the same time, in one process."""
BUFFER = 1000
"""Lines read ahead of a slow client."""

_readers = threading.BoundedSemaphore(MAX_READERS)


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


async def feed(open_lines: Callable[[], Iterator[str]], idle: float) -> AsyncGenerator[list[str], None]:
    """Batches of lines as they come; an empty batch after each `idle` seconds without any.

    Raises what the iterator raised, and Temporary when too many logs are being read. Left early, its thread ends
    at the iterator's next line or end.
    """
    if not _readers.acquire(blocking=False):
        raise Temporary(f"{MAX_READERS} logs are being followed already; try again when one has ended", retry_after=30)
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | _End] = asyncio.Queue()
    room = threading.Semaphore(BUFFER)
    left = threading.Event()

    def read() -> None:
        end = _End()
        try:
            for line in open_lines():
                room.acquire()
                if left.is_set():
                    return
                loop.call_soon_threadsafe(queue.put_nowait, line)
        except Exception as error:  # noqa: BLE001, RUF100  (handed over, and raised where the batches are read)
            end = _End(error)
        finally:
            _readers.release()
            # The loop may be closed already, with nobody left to tell.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(queue.put_nowait, end)

    threading.Thread(target=read, name="slipway-log-reader", daemon=True).start()
    try:
        while True:
            batch = await _batch(queue, idle)
            end = batch.pop() if batch and isinstance(batch[-1], _End) else None
            lines = [line for line in batch if isinstance(line, str)]
            if lines or end is None:
                yield lines
            if isinstance(end, _End):
                if end.error is not None:
                    raise end.error
                return
            if lines:
                room.release(len(lines))
    finally:
        left.set()
        room.release()


async def _batch(queue: asyncio.Queue[str | _End], idle: float) -> list[str | _End]:
    try:
        batch = [await asyncio.wait_for(queue.get(), idle)]
    except TimeoutError:
        return []
    while not queue.empty() and not isinstance(batch[-1], _End):
        batch.append(queue.get_nowait())
    return batch
