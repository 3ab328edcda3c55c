"""One process at a time, on one machine: a lock that the kernel gives back however its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.errors import Temporary


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Holds the lock file `path` (made when missing, with its folder) while inside; waits for whoever holds it.

    Yields the file descriptor. A child that inherits it goes on holding the lock after this process was killed. Not
    re-entrant. Raises Temporary when the file cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Temporary(f"{path}: the lock file cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether anyone, this process included, holds the lock now."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Temporary(f"{path}: the lock file cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
