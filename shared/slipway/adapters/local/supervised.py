"""One command that outlives Slipway: kill -9 of Slipway neither ends it nor loses its exit code.

A supervisor process of its own (`supervisor.py`) runs it and writes everything down in one folder; any process of
Slipway, now or after a restart, reads the folder. Files are 0600 and replaced as a whole; the folder is 0700.

    claim         locked (flock) by a supervisor while it looks for `started.json` and writes it
    started.json  boot, pid and kernel start time of the supervisor and of the command; start
    label         what it is, for the watcher: `item:<id>` or `image:<reference>`
    log           standard output and standard error of the command
    stop          seconds of grace, once someone asked it to stop
    ended.json    exit code and time

**At most one start.** The supervisor, not the starter, claims: by the lock it finds no record and writes one, before it
lets the command begin. So of two racing starters one gets `True` and the other, milliseconds later, `False`. A starter
killed at any moment leaves either nothing (the order was cut short; the kernel releases the lock; anyone may start) or
a running supervisor that needs nothing from it. A supervisor killed between record and start leaves `lost`.

**Who it is.** A pid alone is recycled; a pid with its start time within one boot is not.

Runs under systemd need `KillMode=process` in Slipway's unit, else stopping Slipway stops the jobs too. Linux only
(/proc, pidfd_open since 5.3).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from slipway.errors import Permanent, Temporary

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_PATIENCE = 30.0
_LONGEST_LINE = 1 << 20
_TAIL = 1 << 16


class Phase(StrEnum):
    ABSENT = "absent"
    """Never started."""
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"
    """Gone without a word: the machine restarted, or someone killed the supervisor."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the folder and the kernel say. Times are seconds since the epoch; a negative exit code is a signal."""

    phase: Phase
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None


class Supervised:
    """The command whose folder this is. The object holds nothing else; make as many as you like."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, label: str = "") -> bool:
        """True when it was started now, False when somebody had started it already.

        `env` is the whole environment; it travels through a pipe. An `argv[0]` that cannot be run is no error here but
        an exit with code 127 (not found) or 126, with the system's words in the log. Raises Permanent for what no
        command line can carry, Temporary when no supervisor could be started.
        """
        order = _order(argv, env, cwd, label)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            done = subprocess.run(
                [sys.executable, "-I", "-S", _SUPERVISOR, str(self.folder)],
                input=order,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={},
                start_new_session=True,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Temporary(f"{self.folder}: cannot start a supervisor for {argv[0]!r}: {error}") from error
        if done.stdout not in (b"started", b"taken"):
            words = done.stdout.decode(errors="replace").strip().splitlines()
            raise Temporary(
                f"{self.folder}: the supervisor of {argv[0]!r} failed: {words[-1] if words else 'it said nothing'}"
            )
        return bool(done.stdout == b"started")

    def status(self) -> Status:
        started = self._read("started.json")
        if started is None:
            return Status(Phase.ABSENT)
        # Alive is asked before the record of the end is read: it cannot end unnoticed between the two.
        alive = _alive(started, "supervisor") or _alive(started, "job")
        ended = self._read("ended.json")
        if ended is not None:
            return Status(Phase.EXITED, ended["code"], started["at"], ended["at"])
        return Status(Phase.RUNNING if alive else Phase.LOST, started_at=started["at"])

    def stop(self, grace: float = 10.0) -> None:
        """SIGTERM to the command's process group, SIGKILL `grace` seconds later. Returns at once: the supervisor sees
        to it. Without a supervisor (someone killed it) the command gets SIGKILL now. Over or absent is fine."""
        started = self._read("started.json")
        if started is None:
            return
        supervisor = _pidfd(started, "supervisor")
        if supervisor is not None:
            self._ask_to_stop(grace)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(supervisor, signal.SIGTERM)
            os.close(supervisor)
        elif _alive(started, "job"):
            with suppress(ProcessLookupError):
                os.killpg(started["job"][0], signal.SIGKILL)

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Complete lines without their ends, from the first; bytes that are not UTF-8 become U+FFFD.

        Once it is over, what follows the last line end is a line too. `follow` goes on until it is over.
        """
        try:
            file = (self.folder / "log").open("rb")
        except FileNotFoundError:
            return
        with file:
            yield from self._lines(file, follow)

    def tail(self, lines: int = 50) -> str:
        """The last lines of the log (of its last 64 KiB), joined by newlines."""
        try:
            with (self.folder / "log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                text = file.read(_TAIL).decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(_whole_lines(text)[-lines:]) if lines > 0 else ""

    def label(self) -> str:
        """As given to the start that won; empty before."""
        try:
            return (self.folder / "label").read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return ""

    def pidfd(self) -> int | None:
        """A file descriptor that becomes readable when the process that is alive now ends: the supervisor, or the
        command where that was killed. None when neither is. The caller closes it and asks again."""
        started = self._read("started.json")
        if started is None:
            return None
        supervisor = _pidfd(started, "supervisor")
        return supervisor if supervisor is not None else _pidfd(started, "job")

    def _lines(self, file: BinaryIO, follow: bool) -> Iterator[str]:
        rest = b""
        while True:
            # Asked before reading, so that nothing written before the end is missed.
            running = self.status().phase is Phase.RUNNING
            while chunk := file.read(_TAIL):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(_text, lines)
                if len(rest) > _LONGEST_LINE:
                    yield _text(rest)
                    rest = b""
            if not running:
                break
            if not follow:
                return
            self._wait(0.1)
        if rest:
            yield _text(rest)

    def _wait(self, timeout: float) -> None:
        process = self.pidfd()
        if process is None:
            return
        try:
            select.select([process], [], [], timeout)
        finally:
            os.close(process)

    def _ask_to_stop(self, grace: float) -> None:
        draft = self.folder / f"stop.{os.getpid()}.tmp"
        try:
            draft.touch(mode=0o600)
            draft.write_text(str(float(grace)))
            draft.replace(self.folder / "stop")
        except OSError:
            # A full disk must not keep anything running: the supervisor has a grace of its own.
            draft.unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Temporary(f"{self.folder / name} cannot be read: {error}") from error
        return record


def _order(argv: Sequence[str], env: Mapping[str, str], cwd: Path, label: str) -> bytes:
    """As `supervisor.order` reads it."""
    if not argv or not argv[0]:
        raise Permanent("the command is empty: give the job an entry point")
    for name in env:
        if not name or "=" in name:
            raise Permanent(f"environment variable {name!r}: a name is not empty and holds no '='")
    fields = [str(cwd.absolute()), label, str(len(argv)), *argv, *(f"{name}={value}" for name, value in env.items())]
    if any("\0" in field for field in fields):
        raise Permanent("a command, its folder and its environment cannot hold the character NUL")
    try:
        rest = "\0".join(fields).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Not chained: that error carries the whole text, secrets included.
        raise Permanent("a command, its folder and its environment must be valid Unicode text") from None
    return b"%d\0%s" % (len(rest), rest)


def _alive(started: Mapping[str, Any], who: str) -> bool:
    """Whether the recorded process runs still: same boot, same pid, same start time, and not a zombie."""
    pid, born = started[who]
    if started["boot"] != _boot():
        return False
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(fields[19]) == born and fields[0] not in (b"Z", b"X")


def _pidfd(started: Mapping[str, Any], who: str) -> int | None:
    try:
        opened = os.pidfd_open(started[who][0])
    except ProcessLookupError:
        return None
    except OSError as error:
        raise Temporary(f"process {started[who][0]} cannot be watched: {error.strerror}") from error
    # Looked at after opening: now the pid cannot pass to another process under our hands.
    if _alive(started, who):
        return opened
    os.close(opened)
    return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _whole_lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
