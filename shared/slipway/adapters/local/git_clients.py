"""dulwich's git clients, with what it leaves to its callers: checked addresses, time-outs, and an ssh that never asks.

https goes through `reach.client`, git:// through a socket to a checked address, ssh through the system's own ssh, whose
keys and known hosts are the operator's.
"""

from __future__ import annotations

import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

import httpx
from dulwich.client import (
    AbstractHttpGitClient,
    GitClient,
    SSHGitClient,
    SSHVendor,
    SubprocessWrapper,
    TCPGitClient,
    get_credentials_from_store,
)
from dulwich.protocol import Protocol

from slipway.adapters.local import reach
from slipway.adapters.local.git_address import Address
from slipway.errors import Forbidden, NotFound, Permanent, Temporary

CREDENTIALS = ("~/.git-credentials", "~/.config/git/credentials")
"""Where git's own `credential-store` keeps them: https://git-scm.com/docs/git-credential-store"""

_GIT_PORT = 9418


def connect(address: Address, *, private: bool, deadline: reach.Deadline, ssh: str) -> tuple[GitClient, bytes]:
    """A client for a network address, and the path to ask it for. Close the client."""
    if address.scheme == "ssh":
        port = address.port
        vendor = _Ssh(private=private, deadline=deadline, program=ssh)
        return SSHGitClient(address.host, port, address.user, vendor=vendor, thin_packs=False), address.path.encode()
    if address.scheme == "git":
        return _Git(address, private=private, deadline=deadline), address.path.encode()
    return _Http(address, private=private, deadline=deadline), b""


class _Http(AbstractHttpGitClient):
    """Smart HTTP: https://git-scm.com/docs/http-protocol"""

    def __init__(self, address: Address, *, private: bool, deadline: reach.Deadline) -> None:
        super().__init__(str(address), thin_packs=False, quiet=True)
        self._address = address
        self._deadline = deadline
        self._http = reach.client(private=private, schemes=frozenset({"https", address.scheme}), deadline=deadline)
        self._auth = next(
            get_credentials_from_store(
                address.scheme, address.host, address.user, [str(Path(name).expanduser()) for name in CREDENTIALS]
            ),
            None,
        )

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> Any:
        """As git itself, only the first request follows redirects, and only the named origin gets credentials."""
        ours = url.startswith(urljoin(self._base_url, "/"))
        with reach.translated(str(self._address)):
            body = data if data is None or isinstance(data, bytes) else b"".join(data)
            request = self._http.build_request("GET" if data is None else "POST", url, headers=headers, content=body)
            auth = self._auth if ours else None
            response = self._http.send(request, stream=True, auth=auth, follow_redirects=data is None)
            try:
                self._check(response)
            except Exception:
                response.close()
                raise
        answer = _Answer(response, url, self._address, self._deadline)
        return answer, answer.read

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (401, 403, 407):
            raise Forbidden(
                f"{self._address}: the server refuses access ({status}). Put a user and a token for it into git's "
                f"credential store on the machine that runs Slipway ({CREDENTIALS[0]}), or use an ssh address"
            )
        if status in (404, 410):
            raise NotFound(
                f"{self._address}: the server knows no such repository ({status}), or hides it from those who may not "
                f"read it; check the address, and the credentials in {CREDENTIALS[0]}"
            )
        if status == 429 or status >= 500:
            raise Temporary(f"{self._address}: the server answers {status}", reach.retry_after(response.headers))
        kind = response.headers.get("Content-Type", "")
        if status != 200 or not kind.startswith("application/x-git-"):
            raise Permanent(f"{self._address}: what answers there is no git server (status {status}, type '{kind}')")

    def close(self) -> None:
        self._http.close()


class _Answer:
    """An httpx response as dulwich reads one: `read(n)` gives n bytes, fewer only at the end."""

    def __init__(self, response: httpx.Response, asked: str, address: Address, deadline: reach.Deadline) -> None:
        url = str(response.url)
        self.status = response.status_code
        self.content_type = response.headers.get("Content-Type")
        self.redirect_location = url if url != asked else ""
        self._response = response
        self._chunks = response.iter_bytes()
        self._buffer = bytearray()
        self._address = address
        self._deadline = deadline

    def read(self, size: int) -> bytes:
        with reach.translated(str(self._address)):
            while len(self._buffer) < size:
                self._deadline.left()
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def close(self) -> None:
        self._response.close()


class _Git(TCPGitClient):
    """git://, to an address that was checked: https://git-scm.com/docs/pack-protocol#_git_transport"""

    def __init__(self, address: Address, *, private: bool, deadline: reach.Deadline) -> None:
        super().__init__(address.host, address.port or _GIT_PORT, thin_packs=False, quiet=True)
        self._private = private
        self._deadline = deadline

    def _connect(
        self, cmd: bytes, path: str | bytes, protocol_version: int | None = None
    ) -> tuple[Protocol, Callable[[], bool], IO[bytes] | None]:
        connection = self._connection()
        reader = connection.makefile("rb")

        def read(size: int) -> bytes:
            connection.settimeout(min(reach.READ_SECONDS, self._deadline.left()))
            return reader.read(size)

        def write(data: bytes) -> int:
            connection.sendall(data)
            return len(data)

        def close() -> None:
            reader.close()
            connection.close()

        self.protocol_version = 2
        protocol = Protocol(read, write, close)
        name = path.encode() if isinstance(path, str) else path
        protocol.send_cmd(b"git-" + cmd, name, b"host=" + self._host.encode("ascii") + b"\0\0version=2\0")
        return protocol, lambda: bool(select.select([connection], [], [], 0)[0]), None

    def _connection(self) -> socket.socket:
        failure: OSError | None = None
        for address in reach.addresses(self._host, private=self._private):
            try:
                return socket.create_connection((address, self._port), reach.CONNECT_SECONDS)
            except OSError as error:
                failure = error
        raise failure or OSError(f"host '{self._host}' has no address")


class _Ssh(SSHVendor):
    """Runs the system's ssh so that it never asks, never waits for ever, and talks to no host whose key is unknown."""

    def __init__(self, *, private: bool, deadline: reach.Deadline, program: str) -> None:
        self._private = private
        self._deadline = deadline
        self._program = program

    def run_command(
        self,
        host: str,
        command: bytes,
        username: str | None = None,
        port: int | None = None,
        password: str | None = None,
        key_filename: str | None = None,
        ssh_command: str | None = None,
        protocol_version: int | None = None,
    ) -> SubprocessWrapper:
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={reach.CONNECT_SECONDS:.0f}",
            f"ServerAliveInterval={reach.READ_SECONDS / 2:.0f}",
            "ServerAliveCountMax=2",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "SetEnv=GIT_PROTOCOL=version=2",
        ]
        if not self._private:
            # The checked address is the one to connect to; the host's key is still looked up by its name.
            options += [f"HostName={reach.addresses(host, private=False)[0]}", f"HostKeyAlias={host}"]
        arguments = [self._program, "-T", "-x", *(word for option in options for word in ("-o", option))]
        arguments += ["-p", str(port)] if port else []
        arguments += ["-l", username] if username else []
        try:
            process = subprocess.Popen(
                [*arguments, "--", host, command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Permanent(f"'{self._program}' is not installed; ssh addresses need an OpenSSH client") from error
        return _Connection(process, self._deadline.left())


class _Connection(SubprocessWrapper):
    """An ssh process that is ended when its time is up."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        super().__init__(process)
        self._timer = threading.Timer(seconds, process.kill)
        self._timer.daemon = True
        self._timer.start()

    def close(self, timeout: int | None = 10) -> None:
        self._timer.cancel()
        super().close(timeout)
