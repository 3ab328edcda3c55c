"""Tells at once when a local run or build ends, without polling, whichever process of Slipway started it.

The kernel does the watching: a pidfd becomes readable when its process ends. What starts later makes itself known: its
supervisor writes its folder's path into every named pipe it finds in `<home>/watchers/`, of which each watcher has one.
"""

from __future__ import annotations

import os
import secrets
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from slipway.adapters.local.supervised import Phase, Supervised
from slipway.errors import Temporary
from slipway.model import Changed

_PLACES = ("runs/*/process", "builds/*", "builds/*/process")
_TOLD = "told"
_LARGEST = 1 << 16


class ProcessWatcher:
    """Watches what runs under `home` now, and what is started there later. It starts no thread: `changes` waits itself.

    What ended while nobody watched is told once, by the next watcher; a file `told` in its folder remembers that.
    """

    def __init__(self, home: Path) -> None:
        bells = home.absolute() / "watchers"
        bells.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bell = bells / secrets.token_hex(8)
        self._pipe = _open_bell(self._bell)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._folders: dict[int, Path] = {}
        self._unread = b""
        self._ended: list[Path] = []
        self._turn = threading.Lock()
        self._closed = False
        # After the pipe is there: what starts now rings, what started before is found.
        for folder in _untold(home.absolute()):
            with suppress(Temporary):  # one unreadable record must not keep Slipway from starting; the tick shows it
                self._watch(folder)

    def changes(self, timeout: float) -> Sequence[Changed]:
        """What ended since the last call; blocks up to `timeout` seconds for the first. Empty once closed."""
        deadline = time.monotonic() + timeout
        with self._turn:
            while not self._closed and not self._ended:
                ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
                for number, _ in ready:
                    self._look(number)
                if not ready:
                    break
            ended, self._ended = self._ended, []
            return [change for folder in ended if (change := _change(folder))]

    def close(self) -> None:
        """Wakes a call of `changes` that waits in another thread. Closing twice is closing once."""
        self._closed = True
        self._bell.unlink(missing_ok=True)
        with suppress(OSError):
            os.write(self._pipe, b"\n")
        with self._turn:
            for number in (*self._folders, *([self._pipe] if self._pipe >= 0 else [])):
                self._poll.unregister(number)
                os.close(number)
            self._folders.clear()
            self._pipe = -1

    def _look(self, number: int) -> None:
        if number == self._pipe:
            *lines, self._unread = (self._unread + os.read(self._pipe, _LARGEST)).split(b"\n")
            for line in filter(None, lines):
                self._watch(Path(os.fsdecode(line)))
            return
        self._poll.unregister(number)
        os.close(number)
        # Again: where the supervisor was killed, its command may go on, and is what is watched from now on.
        self._watch(self._folders.pop(number))

    def _watch(self, folder: Path) -> None:
        if folder in self._folders.values():
            return
        process = Supervised(folder).pidfd()
        if process is None:
            self._ended.append(folder)
            return
        self._folders[process] = folder
        self._poll.register(process, select.POLLIN)


def _open_bell(path: Path) -> int:
    """A named pipe, open before it can be seen: a supervisor removes one to which nobody listens."""
    draft = path.with_name(f".{path.name}")
    os.mkfifo(draft, 0o600)
    # Also open for writing, so that reading never meets an end of file between two writers.
    pipe = os.open(draft, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    draft.rename(path)
    return pipe


def _untold(home: Path) -> list[Path]:
    started = (path.parent for place in _PLACES for path in home.glob(f"{place}/started.json"))
    return [folder for folder in started if not (folder / _TOLD).exists()]


def _change(folder: Path) -> Changed | None:
    supervised = Supervised(folder)
    if supervised.status().phase is Phase.ABSENT:
        return None  # it was removed meanwhile
    with suppress(OSError):
        (folder / _TOLD).touch(mode=0o600)
    kind, _, name = supervised.label().partition(":")
    if kind == "item" and name:
        return Changed(item_id=name)
    return Changed(image=name) if kind == "image" and name else None
