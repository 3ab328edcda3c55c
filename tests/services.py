"""Real parts for tests: found or started here; without them a test is skipped on a laptop and fails where CI is set."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from tests.conditions import eventually

BASE_IMAGE = "slipway-test/python:3"
ROOT = Path(__file__).parent.parent

Application = Callable[[dict[str, Any], Callable[..., Any]], list[bytes]]


def missing(what: str, cure: str) -> NoReturn:
    """Ends the test: as skipped on a laptop, as failed where `CI` is set."""
    message = f"{what} is missing; {cure}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def program(name: str) -> str:
    """The path of an installed program, also of the ones in sbin."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return found or missing(name, "install it with: make services")


def docker() -> str:
    """The docker command, with an engine that answers."""
    command = program("docker")
    if subprocess.run([command, "version"], capture_output=True, timeout=30).returncode != 0:
        missing("a Docker engine", "start one with: make services")
    return command


def base_image() -> str:
    """The name of an image with Python, made here when it is not there."""
    docker()
    subprocess.run([ROOT / "tools" / "base-image", BASE_IMAGE], check=True, capture_output=True, timeout=100)
    return BASE_IMAGE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(*command: str | Path, port: int, log: Path) -> Iterator[None]:
    """A server process that listens on `port` of 127.0.0.1 until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen([*command], stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        assert eventually(lambda: listens(port) or process.poll() is not None, within=30)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def oci_registry(folder: Path, htpasswd: str = "") -> Iterator[str]:
    """A registry of its own, empty, as `127.0.0.1:port`. `htpasswd` (bcrypt lines) makes it ask for a login."""
    command = program("docker-registry")
    port = free_port()
    config = folder / "registry.yml"
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}"}}\n{auth}'
    )
    with running(command, "serve", config, port=port, log=folder / "registry.log"):
        yield f"127.0.0.1:{port}"


@contextmanager
def web(application: Application, host: str = "127.0.0.1") -> Iterator[str]:
    """A WSGI application on a port of loopback, or of another address of this machine, as `host:port`."""
    server = make_server(host, 0, application, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests of a test are nobody's news."""
