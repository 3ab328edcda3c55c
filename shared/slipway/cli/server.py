"""The HTTP API on a socket, in a thread of `slipway up`."""

from __future__ import annotations

import errno
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import Forbidden, Invalid, Permanent, Problem, SlipwayError, Temporary

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE = 3
"""Seconds in which open requests may finish at the end; a followed log would go on for ever."""
BACKLOG = 256


class Server:
    """uvicorn on a socket that is bound already, so that a port in use is an answer and not a stack of log lines."""

    def __init__(self, app: FastAPI, listening: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE, ws="none"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Requests are taken from now on, and answered once the thread is there: the socket listens already."""
        self._thread.start()

    def stop(self) -> None:
        """No new requests; those in hand have GRACE seconds."""
        self._server.should_exit = True
        self._thread.join(GRACE + 2)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Temporary when the port is in use, naming who holds it where that can be known."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError) as error:
        raise Invalid(Problem("--host", f"cannot be resolved: {error}", host)) from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _refused(error, host, port) from error
    return listening


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refused(error: OSError, host: str, port: int) -> SlipwayError:
    if error.errno == errno.EADDRINUSE:
        return Temporary(
            f"port {port} on {host} is in use{holder_of(port)}. Choose another with --port, or --port 0 for any"
        )
    if error.errno == errno.EACCES:
        return Forbidden(
            f"this user may not listen on port {port}: {error.strerror}. Choose one above 1023 with --port"
        )
    return Permanent(f"cannot listen on {host} port {port}: {error.strerror}. Check --host and --port")


def holder_of(port: int) -> str:
    """` by python (pid 4711)`, where the kernel lets this user see it; else nothing.

    /proc/net/tcp lists listening sockets with their inode, /proc/<pid>/fd who has them open: proc(5).
    """
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = {str(each.readlink()) for each in (process / "fd").iterdir()}
            if held & inodes:
                return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
