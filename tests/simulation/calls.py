"""A proxy before every port, where others may go first and where what can go wrong goes wrong.

Which faults exist in a schedule, and how often they come, is its character, drawn from the seed. Each is counted by
kind when it strikes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation.scheduler import Crash, Scheduler

from slipway.errors import Refused, SlipwayError, Temporary
from slipway.model import Item, Launch, Message, Queue, RunRef, RunStatus

KINDS = (
    "crash before the effect",
    "crash after the effect",
    "error without effect",
    "time-out whose effect happened",
    "throttled",
    "stall before the effect",
    "stall after the effect",
)
AFTERWARDS = ("crash after the effect", "time-out whose effect happened")
HESITATES = "the request for a run takes minutes"
REFUSED = "refused for want of capacity"


@dataclass
class Mishaps:
    """`rate`: of how many calls one goes wrong, in the ways of `kinds`. 0 once faults have stopped."""

    rate: float = 0.0
    kinds: tuple[str, ...] = KINDS
    refusals: float = 0.0
    """Of how many calls that create something on a backend one is refused for want of capacity."""
    slow: float = 0.0
    """Of how many requests for a run one gets there minutes later. Who made it may be dead by then."""
    stalls: tuple[float, ...] = (3.0, 40.0, 130.0, 400.0)


class Calls:
    """The way of every call: others first, then what goes wrong before, the effect, what goes wrong after."""

    def __init__(self, scheduler: Scheduler, mishaps: Mishaps) -> None:
        self.scheduler = scheduler
        self.mishaps = mishaps

    def make(self, name: str, effect: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        scheduler = self.scheduler
        worker = scheduler.give_way()
        tracing = scheduler.trace is not None
        fault = self._draw(name)
        if fault is not None:
            scheduler.faults[fault] += 1
            if tracing:
                scheduler.note(f"{worker}: {name}{shown(args, named)}: {fault}")
            match fault:
                case "crash before the effect":
                    raise Crash
                case "error without effect":
                    raise Temporary("connection reset")
                case "throttled":
                    raise Temporary("too many requests", retry_after=5.0)
                case "stall before the effect" | "the request for a run takes minutes":
                    scheduler.stand_still(worker, self._seconds() if fault != HESITATES else 150.0 + self._seconds())
                    fault = self._after_a_stall()
        try:
            answer = effect(*args, **named)
        except Exception as error:
            if tracing:
                scheduler.note(f"{worker}: {name}{shown(args, named)} → {type(error).__name__}: {error}")
            if not isinstance(error, SlipwayError) and _ours(error):
                scheduler.failure = error
            raise
        if tracing:
            scheduler.note(f"{worker}: {name}{shown(args, named)} → {_short(answer)}")
        match fault:
            case "crash after the effect":
                raise Crash
            case "time-out whose effect happened":
                raise Temporary("timed out")
            case "stall after the effect":
                scheduler.stand_still(worker, self._seconds())
        return answer

    def refuse(self, what: str) -> None:
        """Where a backend creates something, it may have no room. Nothing was created."""
        mishaps = self.mishaps
        if mishaps.refusals and self.scheduler.rng.random() < mishaps.refusals:
            self.scheduler.faults[REFUSED] += 1
            raise Refused(f"no room for {what}", retry_after=self.scheduler.rng.choice((None, 1.0, 30.0)))

    def _draw(self, name: str) -> str | None:
        mishaps = self.mishaps
        rng = self.scheduler.rng
        if mishaps.slow and name == "vendor.create" and rng.random() < mishaps.slow:
            return HESITATES
        if not mishaps.rate or rng.random() >= mishaps.rate:
            return None
        return mishaps.kinds[int(rng.random() * len(mishaps.kinds))]

    def _after_a_stall(self) -> str | None:
        """Who stood still for so long may not live to hear the answer."""
        rng = self.scheduler.rng
        if rng.random() >= 0.4:
            return None
        fault = rng.choice(AFTERWARDS)
        self.scheduler.faults[fault] += 1
        return fault

    def _seconds(self) -> float:
        rng = self.scheduler.rng
        return rng.choice(self.mishaps.stalls) * (0.8 + 0.4 * rng.random())


class Port:
    """Stands before a port, or before the interface of a vendor."""

    def __init__(self, port: object, name: str, calls: Calls) -> None:
        self._port, self._name, self._calls = port, name, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        calls, full = self._calls, f"{self._name}.{name}"

        def call(*args: Any, **named: Any) -> Any:
            return calls.make(full, found, args, named)

        self.__dict__[name] = call
        return call


def _ours(error: Exception) -> bool:
    """It was raised in a file of the simulator, so it says nothing about what is tested."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return False
    file = Path(frame.tb_frame.f_code.co_filename)
    return file.parent == Path(__file__).parent and not file.name.startswith("test_")


def shown(args: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    parts = [_short(each) for each in args] + [f"{key}={_short(value)}" for key, value in named.items()]
    return f"({', '.join(parts)})"


def _short(value: Any) -> str:
    """Of an item what its way depends on; of anything else its first words."""
    if isinstance(value, RunStatus):
        return f"{value.phase} {value.reason}".strip()
    if isinstance(value, Path):
        return "folder"
    if isinstance(value, RunRef):
        return value.name
    if isinstance(value, Queue):
        return f"<{value.name} v{value.version} max_jobs={value.max_jobs}{' paused' * value.paused}>"
    if isinstance(value, Message):
        return f"<{value.topic} {value.body} {value.receipt}>"
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, Item):
        lease = "" if value.lease is None else f" lease={value.lease.act}"
        wish = "" if value.desired == "run" else f" wish={value.desired}"
        return f"<{value.id[-5:]} v{value.version} {value.state} attempt={value.attempt}{lease}{wish} '{value.reason}'>"
    if isinstance(value, Launch):
        return f"<launch {value.run.name}>"
    text = str(value)
    return text if len(text) <= 160 else f"{text[:157]}..."
