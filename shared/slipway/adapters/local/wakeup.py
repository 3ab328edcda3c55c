"""Wakes those who wait for messages, in this process and in every other one on the same data folder. Nobody polls.

Each process that waits binds a datagram socket in `<home>/wake/`; who has sent a message pokes all of them. A poke says
only "look again": one too many costs a look, and one that a full buffer refuses is made good by those still in it.
A process that dies leaves its socket behind; the next poke is refused by it and takes it away.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from pathlib import Path

from slipway.errors import Permanent

_LONGEST_ADDRESS = 107
"""Bytes of a Unix socket's path, without its closing zero: https://man7.org/linux/man-pages/man7/unix.7.html"""


class Wakeup:
    """Take a `mark`, look for work, and `wait` with that mark: a `signal` between the two ends the wait at once."""

    def __init__(self, home: str | Path) -> None:
        self._folder = Path(home).absolute() / "wake"
        self._signals = 0
        self._changed = threading.Condition()
        self._listening: socket.socket | None = None
        self._listener: threading.Thread | None = None
        self._name = ""
        self._closed = False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Names the folder in short, where its path is too long for a socket's address.
            self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            self._sending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise self._unusable(error) from error

    def signal(self) -> None:
        """Ends the waits of all processes."""
        self._signal_here()
        for entry in self._others():
            try:
                self._sending.sendto(b"!", self._address(entry))
            except ConnectionRefusedError:
                (self._folder / entry).unlink(missing_ok=True)
            except OSError:
                # Full: it has pokes to read, which come after what we have stored. Gone: nobody waits there.
                continue

    def mark(self) -> int:
        """What has been signalled so far. From the first mark on, this process hears the others."""
        with self._changed:
            if self._listening is None and not self._closed:
                self._listen()
            return self._signals

    def wait(self, mark: int, timeout: float) -> None:
        """Until something is signalled after `mark`, or for `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._signals != mark, timeout)

    def close(self) -> None:
        """Ends the waits of this process, and hears no more of the others."""
        with self._changed:
            listening, self._listening = self._listening, None
            self._closed = True
        if listening is not None and self._listener is not None:
            listening.shutdown(socket.SHUT_RDWR)
            self._listener.join()
            listening.close()
            (self._folder / self._name).unlink(missing_ok=True)
        self._signal_here()
        self._sending.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _signal_here(self) -> None:
        with self._changed:
            self._signals += 1
            self._changed.notify_all()

    def _others(self) -> list[str]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  on the way of every send; a Path each costs more than it
        except FileNotFoundError:
            return []
        return [name for name in names if name.endswith(".socket") and name != self._name]

    def _listen(self) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(4)}.socket"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # It appears bound: a poke between its appearance and its binding would take it for one left behind.
            listening.bind(self._address(f".{name}"))
            (self._folder / f".{name}").rename(self._folder / name)
        except OSError as error:
            listening.close()
            raise self._unusable(error) from error
        self._name, self._listening = name, listening
        self._listener = threading.Thread(target=self._hear, args=(listening,), name="slipway-wakeup", daemon=True)
        self._listener.start()

    def _hear(self, listening: socket.socket) -> None:
        while listening.recv(1):
            self._signal_here()

    def _address(self, name: str) -> str:
        address = f"{self._folder}/{name}"
        if len(os.fsencode(address)) <= _LONGEST_ADDRESS:
            return address
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def _unusable(self, error: OSError) -> Permanent:
        return Permanent(
            f"The folder {self._folder} cannot hold sockets: {error.strerror or error}. "
            f"Choose a data folder on a local disk that this user may write to."
        )
