"""A backend in a dict, which takes our names as SageMaker and Kubernetes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Condition

from slipway.errors import AlreadyExists
from slipway.model import Launch, RunPhase, RunRef, RunStatus

_ALIVE = (RunPhase.STARTING, RunPhase.RUNNING)


class MemoryRun:
    """One run: its status, and what it has said. Once over, it stays as it is."""

    def __init__(self, changed: Condition) -> None:
        self.status = RunStatus(RunPhase.RUNNING)
        self.lines: list[str] = []
        self._changed = changed

    def say(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def move(self, status: RunStatus) -> None:
        with self._changed:
            if self.status.phase in _ALIVE:
                self.status = status
                self._changed.notify_all()


Course = Callable[[Launch, MemoryRun], None]
"""How a run goes: called once, as it starts. It may move the run now, or keep it and move it later."""


def runs_until_told(launch: Launch, run: MemoryRun) -> None:
    """It runs until `end`, `stop` or `lose`."""


def finishes_at_once(launch: Launch, run: MemoryRun) -> None:
    run.move(RunStatus(RunPhase.FINISHED, exit_code=0))


class MemoryTarget:
    """Runs by name. `taken` are names that somebody else's jobs have. A shallow copy is another client of the same
    backend."""

    look_again = 60.0
    start_lease = 120.0

    def __init__(self, course: Course = runs_until_told, taken: frozenset[str] = frozenset()) -> None:
        self._course = course
        self._taken = taken
        self._changed = Condition()
        self._runs: dict[str, MemoryRun] = {}
        self.started: list[Launch] = []
        """Every run that was really started, in order."""

    def start(self, launch: Launch) -> RunStatus:
        name = launch.run.name
        if name in self._taken:
            raise AlreadyExists(f"a job named {name} exists and is not Slipway's")
        with self._changed:
            run = self._runs.get(name)
            if run is None:
                run = self._runs[name] = MemoryRun(self._changed)
                self.started.append(launch)
                self._course(launch, run)
            return run.status

    def status(self, run: RunRef) -> RunStatus:
        found = self._runs.get(run.name)
        return RunStatus(RunPhase.ABSENT) if found is None else found.status

    def live(self) -> Sequence[RunRef]:
        runs = ((launch.run, self._runs.get(launch.run.name)) for launch in self.started)
        return [ref for ref, run in runs if run is not None and run.status.phase in _ALIVE]

    def stop(self, run: RunRef) -> None:
        self.end(run, RunStatus(RunPhase.STOPPED))

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        found = self._runs.get(run.name)
        said = 0
        while found is not None:
            with self._changed:
                if follow and said == len(found.lines) and found.status.phase in _ALIVE:
                    self._changed.wait()
                over = found.status.phase not in _ALIVE or not follow
                fresh = found.lines[said:]
            yield from fresh
            said += len(fresh)
            if over and said == len(found.lines):
                return

    def end(self, run: RunRef, status: RunStatus) -> None:
        """What happens to the run from outside: it is over, or elsewhere on its way."""
        found = self._runs.get(run.name)
        if found is not None:
            found.move(status)

    def lose(self, run: RunRef) -> None:
        """The backend forgets the run."""
        with self._changed:
            self._runs.pop(run.name, None)
