"""One seeded scheduler: virtual time, and workers of which only one goes on at a time, to its next call on the world.

A worker is one invocation of a function, in a greenlet of its own. It gives way at every call; which of those that are
ready goes on is drawn from the seed. So whatever two workers can do to each other in reality, some seed shows, and the
same seed shows it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

from greenlet import GreenletExit, getcurrent, greenlet

from slipway.errors import SlipwayError

START = 1_700_000_000.0
LONGEST = 60_000
"""Calls after which a schedule has no end."""


class Crash(BaseException):
    """The process dies here. Not an Exception, so that nothing under test can outlive it."""


class Broken(BaseException):
    """A promise was broken: the schedule ends here, so that its trace ends with the call that did it. Nothing under
    test can outlive it either."""


class HarnessError(Exception):
    """The simulator itself is at fault, and says nothing about what it tests."""


class Worker:
    """One invocation. `skew` is how wrong its clock is; `until` when the platform kills it."""

    __slots__ = ("began", "done", "green", "heads", "misled", "name", "number", "skew", "until")

    def __init__(self, number: int, name: str, skew: float, began: float, until: float) -> None:
        self.number = number
        self.name = name
        self.skew = skew
        self.began = began
        self.until = until
        self.green: greenlet | None = None
        self.done = False
        self.heads: dict[object, int] = {}
        """When it last asked who is first in a line, in events of the world."""
        self.misled: set[str] = set()
        """Images that it was told are not there, by a read that lagged behind."""

    def __str__(self) -> str:
        return f"w{self.number} {self.name}"


class Scheduler:
    """Virtual time, what happens when, and whose turn it is."""

    def __init__(self, rng: Random, *, trace: bool = False) -> None:
        self.rng = rng
        self.now = START
        self.current: Worker | None = None
        self.calls = 0
        self.faults: Counter[str] = Counter()
        self.busy: dict[str, int] = {}
        """How many workers of each kind are under way."""
        self.violations: list[str] = []
        self.failure: Exception | None = None
        """What went wrong in the simulator itself."""
        self.trace: list[str] | None = [] if trace else None
        self._hub = getcurrent()
        self._numbers = count(1)
        self._order = count()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._ready: list[Worker] = []
        self._workers: set[Worker] = set()

    # --- what the world does
    def at(self, when: float, what: Callable[[], None]) -> None:
        heappush(self._later, (when, next(self._order), what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.at(self.now + seconds, what)

    def spawn(self, kind: str, name: str, work: Callable[[], object], *, skew: float, limit: float) -> None:
        """A worker begins, and takes its turn among the others."""
        worker = Worker(next(self._numbers), name, skew, self.now, self.now + limit)
        self.busy[kind] = self.busy.get(kind, 0) + 1

        def live() -> None:
            outcome = "done"
            try:
                work()
            except Crash:
                outcome = "died"
            except SlipwayError as error:
                outcome = f"gave up: {type(error).__name__}: {error}"
            except GreenletExit:
                outcome = "was taken down with the schedule"
            except Broken as broken:
                self.violations.append(str(broken))
            except Exception as error:
                if self.failure is not None:
                    raise
                self.violations.append(f"{worker} died of a bug: {type(error).__name__}: {error}")
            finally:
                self.busy[kind] -= 1
                worker.done = True
                self._workers.discard(worker)
            if self.trace is not None:
                self.note(f"{worker}: {outcome}")

        worker.green = greenlet(live, self._hub)
        self._workers.add(worker)
        self._ready.append(worker)

    def idle(self) -> bool:
        return not self._workers

    def run(self, until: float, more: Callable[[], float]) -> None:
        """Lets the world go on until then. `more` starts what has become possible, and says when to ask again."""
        while not self.violations:
            again = more()
            if self._later and self._later[0][0] <= self.now:
                heappop(self._later)[2]()
            elif self._ready:
                self._let_one_go_on()
            else:
                when = min(self._later[0][0] if self._later else until, again)
                if when >= until:
                    self.now = max(self.now, until)
                    return
                self.now = max(self.now, when)

    def end(self) -> None:
        """No worker is left over."""
        for worker in sorted(self._workers, key=lambda worker: worker.number):
            self.current = None
            if worker.green is not None and worker.green:
                worker.green.throw(GreenletExit)
        self._later.clear()

    # --- what a worker does
    def give_way(self) -> Worker:
        """The others may go first."""
        worker = self.current
        if worker is None:
            raise HarnessError("a call from outside every worker")
        self.calls += 1
        if self.calls > LONGEST:
            raise Broken(f"no end after {LONGEST} calls")
        self._ready.append(worker)
        self._hub.switch()
        return worker

    def stand_still(self, worker: Worker, seconds: float) -> None:
        """Nothing happens in this worker for so long. Where the platform sets a limit, it is killed in between."""
        wake = min(self.now + seconds, worker.until)
        self.at(wake, lambda: self._ready.append(worker))
        self._hub.switch()
        if self.now >= worker.until:
            self.faults["killed at its time limit"] += 1
            raise Crash

    def note(self, line: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now - START:10.3f}  {line}")

    def break_promise(self, what: str) -> None:
        """Ends the schedule from wherever it is noticed."""
        self.note(f"VIOLATION {what}")
        if self.current is None:
            self.violations.append(what)
        else:
            raise Broken(what)

    def _let_one_go_on(self) -> None:
        ready = self._ready
        place = int(self.rng.random() * len(ready))
        worker = ready[place]
        ready[place] = ready[-1]
        ready.pop()
        self.now += self.rng.random() * 0.02
        self.current = worker
        assert worker.green is not None
        worker.green.switch()
        self.current = None
