"""A connection that can be cut: bytes between a port of loopback and a server, for as long as a test lets them pass."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Relay:
    """Listens at `self.server`. While it is down, whoever connects is refused."""

    def __init__(self, server: str) -> None:
        """`server` is what it stands before: `https://127.0.0.1:6443`."""
        host, _, port = server.removeprefix("https://").partition(":")
        self._to = (host, int(port))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening = self._listen(0)
        self._port: int = self._listening.getsockname()[1]
        self.server = f"https://127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Every connection is closed, in the middle of whatever goes over it; new ones are taken."""
        with self._lock:
            cut, self._open = self._open, []
        for each in cut:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def down(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def up(self) -> None:
        self._listening = self._listen(self._port)

    def _listen(self, port: int) -> socket.socket:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
                far = socket.create_connection(self._to)
            except OSError:
                return
            with self._lock:
                self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while piece := one.recv(1 << 16):
                other.sendall(piece)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
