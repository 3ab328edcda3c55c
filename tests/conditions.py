"""Waiting for what happens elsewhere, without sleeping blindly: a condition and a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(predicate: Callable[[], Found], within: float = 10.0) -> Found:
    """The first true answer of `predicate`, asked again and again; fails after `within` seconds with the last one."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while True:
        answer = predicate()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s; the last answer was {answer!r}"
        pause.wait(0.01)
