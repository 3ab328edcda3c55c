"""The docker command line: the one place that starts it, and that turns its failures into Slipway's errors.

The command line and not the Engine's API, because it brings the user's contexts, `DOCKER_HOST`, registry logins and
credential helpers with it. Nothing goes through a shell.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from slipway.errors import AlreadyExists, Forbidden, NotFound, Permanent, Refused, SlipwayError, Temporary

ENGINE_ABSENT = "Start Docker (`systemctl start docker`, Docker Desktop, or `make services`), or set DOCKER_HOST"
LOG_IN = "If the image is private, run `docker login` as the user that runs Slipway"

_LONGEST_LINE = 1 << 20
_COMPLAINTS = ("Error response from daemon", "Error: No such", "Cannot connect to the Docker", "error during connect")
# Docker has no error codes on its command line, only words. First match wins; lower case.
_WORDS: tuple[tuple[type[SlipwayError], str, tuple[str, ...]], ...] = (
    (
        Refused,
        ENGINE_ABSENT,
        ("cannot connect to the docker daemon", "failed to connect to the docker api", "is the docker daemon running"),
    ),
    (
        Forbidden,
        "Add the user that runs Slipway to the `docker` group",
        ("permission denied while trying to connect",),
    ),
    (Refused, "Make room on the disk of the Docker engine, for example with `docker system prune`", ("no space left",)),
    (AlreadyExists, "", ("is already in use by container",)),
    (NotFound, "", ("no such container", "no such object", "no such image", "marked for removal")),
    (
        Temporary,
        "",
        (
            "bad gateway",
            "client.timeout exceeded",
            "connection refused",
            "connection reset",
            "context deadline exceeded",
            "error during connect",
            "gateway timeout",
            "i/o timeout",
            "internal server error",
            "network is unreachable",
            "no such host",
            "server misbehaving",
            "service unavailable",
            "temporary failure in name resolution",
            "tls handshake timeout",
            "toomanyrequests",
            "unexpected eof",
        ),
    ),
    (
        Forbidden,
        LOG_IN,
        (
            "access denied",
            "access forbidden",
            "authentication required",
            "denied:",
            "no basic auth credentials",
            "unauthorized",
        ),
    ),
    (NotFound, "Check the image's name and tag", ("manifest unknown", "no matching manifest", "manifest for ")),
)


def executable() -> str:
    """Where the docker command is. Raises Permanent, with the cure, when it is not on PATH."""
    found = shutil.which("docker")
    if found is None:
        raise Permanent("docker: no such command on PATH. Install Docker, or use a `local-process` queue")
    return found


def run(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    pass_fds: Sequence[int] = (),
) -> str:
    """What `docker <arguments>` printed.

    `environment` is added to this process's own; it may hold secrets, and is in no message. `pass_fds` are inherited by
    the command. Raises what `failure` makes of Docker's words, and Temporary after `timeout` seconds.
    """
    command = [executable(), *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for Slipway: it must not cut short what it asked Docker to do
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Temporary(f"docker {arguments[0]}: no answer within {timeout:g} seconds") from error
    except (OSError, ValueError) as error:
        raise _unstartable(arguments[0], error) from error
    if done.returncode != 0:
        raise failure(arguments[0], done.stderr.decode(errors="replace"), done.returncode)
    return done.stdout.decode(errors="replace")


def stream(*arguments: str) -> subprocess.Popen[bytes]:
    """`docker <arguments>` as it runs, standard output and error as one stream. The caller reads it and ends it."""
    try:
        return subprocess.Popen(
            [executable(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise _unstartable(arguments[0], error) from error


def read(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines of a stream as they come, without their ends; one longer than 1 MiB comes in pieces."""
    assert process.stdout is not None
    while line := process.stdout.readline(_LONGEST_LINE):
        yield line.decode(errors="replace").removesuffix("\n").removesuffix("\r")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it if it still runs, and leave neither a zombie nor an open pipe."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def lines(*arguments: str) -> Iterator[str]:
    """The lines `docker <arguments>` prints, as they come. Raises as `run` does where Docker itself failed.

    Docker's own complaint comes on the same stream as what a container printed. A line that looks like one is held back
    until it is known that the command succeeded, or that more came after it.
    """
    process = stream(*arguments)
    held: str | None = None
    try:
        for line in read(process):
            if held is not None:
                yield held
            held = line if line.startswith(_COMPLAINTS) else None
            if held is None:
                yield line
        code = process.wait()
        if code != 0:
            raise failure(arguments[0], held or "", code)
        if held is not None:
            yield held
    finally:
        end(process)


def failure(verb: str, words: str, code: int) -> SlipwayError:
    """The error for a docker command that ended with `code` and said `words`. It keeps them, and adds a known cure."""
    said = _essence(words) or f"ended with exit code {code} and said nothing"
    lowered = words.lower()
    for kind, cure, signs in _WORDS:
        if any(sign in lowered for sign in signs):
            return kind(f"docker {verb}: {said}{'. ' + cure if cure else ''}")
    return Permanent(f"docker {verb}: {said}")


def _essence(words: str) -> str:
    kept = [
        line.removeprefix("docker: ").strip()
        for line in words.splitlines()
        if line.strip() and not line.startswith(("Run 'docker", "See 'docker", "Usage:", "Using default tag"))
    ]
    return "; ".join(kept).rstrip(".")


def _unstartable(verb: str, error: OSError | ValueError) -> SlipwayError:
    if isinstance(error, ValueError):
        return Permanent(
            f"docker {verb}: an argument or a variable cannot be handed to a program ({error}). "
            "Take NUL characters and broken Unicode out of the job's arguments and variables"
        )
    if error.errno == errno.E2BIG:
        return Permanent(
            f"docker {verb}: an argument or a variable is longer than Linux allows (128 KiB each): {error.strerror}. "
            "Hand large values over in a file or an image"
        )
    return Temporary(f"docker {verb}: cannot be started: {error.strerror or error}")
