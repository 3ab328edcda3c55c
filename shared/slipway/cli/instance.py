"""Which `slipway up` processes are up on a data folder, so that other commands find them.

Each leaves a file there: `up.json` for the one that serves HTTP, `up-<pid>.json` for those that only work. A process
that was killed leaves its file behind, so a file counts only while its pid belongs to a process that started at the
recorded time: pids are used again. Who serves HTTP holds a lock as well, which the kernel gives back in any case.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from slipway.errors import AlreadyExists


@dataclass(frozen=True, slots=True)
class Instance:
    """One `slipway up`. `url` is None where it serves no HTTP; `start_time` is in clock ticks since the boot."""

    pid: int
    start_time: int | None
    url: str | None = None
    workers: int = 0
    keyless: bool = False


def serving(home: Path) -> Instance | None:
    """The one that serves HTTP for this data folder, if it is alive."""
    return _read(home / "up.json")


def alive(home: Path) -> list[Instance]:
    """All that are up on this data folder, the one that serves HTTP first."""
    files = [home / "up.json", *sorted(home.glob("up-*.json"))]
    return [instance for instance in map(_read, files) if instance is not None]


@contextmanager
def announced(home: Path, instance: Instance) -> Iterator[None]:
    """Its file is there as long as the block runs. Files of dead processes are cleared away."""
    for stale in home.glob("up-*.json"):
        if _read(stale) is None:
            stale.unlink(missing_ok=True)
    path = home / ("up.json" if instance.url else f"up-{instance.pid}.json")
    fresh = path.with_suffix(f".{instance.pid}")
    fresh.write_text(json.dumps(asdict(instance)))
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def only_server(home: Path) -> Iterator[None]:
    """Raises AlreadyExists when another process serves HTTP for this data folder."""
    with (home / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = serving(home)
            who = f" at {other.url} (pid {other.pid})" if other else ""
            raise AlreadyExists(
                f"Slipway is up already on {home}{who}. Add workers to it with `slipway up --no-http`, "
                "or use another data folder with --data"
            ) from error
        yield


def this_process(url: str | None, workers: int, keyless: bool) -> Instance:
    return Instance(os.getpid(), start_time(os.getpid()), url, workers, keyless)


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, see proc(5). None where the process is over, or there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may contain spaces and parentheses of its own.
    fields = stat.rpartition(")")[2].split()
    # A zombie is over, and stays in the table for as long as its parent does not ask.
    return None if fields[0] in "ZX" else int(fields[19])


def _read(path: Path) -> Instance | None:
    try:
        instance = Instance(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return instance if _lives(instance) else None


def _lives(instance: Instance) -> bool:
    if instance.start_time is not None:
        return start_time(instance.pid) == instance.start_time
    try:
        os.kill(instance.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
