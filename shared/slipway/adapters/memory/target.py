"""A backend in a dict, which takes our names as SageMaker and Kubernetes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from slipway.errors import AlreadyExists
from slipway.model import Launch, RunPhase, RunRef, RunStatus

Course = Callable[[Launch], RunStatus]
"""How a run goes, decided as it starts: where it is from then on, until `end` or `stop`."""


def runs_until_told(launch: Launch) -> RunStatus:
    return RunStatus(RunPhase.RUNNING)


def finishes_at_once(launch: Launch) -> RunStatus:
    return RunStatus(RunPhase.FINISHED, exit_code=0)


class MemoryTarget:
    """Runs by name. `taken` are names that somebody else's jobs have."""

    look_again = 60.0

    def __init__(self, course: Course = runs_until_told, taken: frozenset[str] = frozenset()) -> None:
        self._course = course
        self._taken = taken
        self._lock = Lock()
        self._runs: dict[str, RunStatus] = {}
        self._logs: dict[str, list[str]] = {}
        self.started: list[Launch] = []
        """Every run that was really started, in order."""

    def start(self, launch: Launch) -> RunStatus:
        name = launch.run.name
        with self._lock:
            if name in self._taken:
                raise AlreadyExists(f"a job named {name} exists and is not Slipway's")
            if name not in self._runs:
                self.started.append(launch)
                self._logs[name] = [f"$ {' '.join(launch.command)}"]
                self._runs[name] = self._course(launch)
            return self._runs[name]

    def status(self, run: RunRef) -> RunStatus:
        return self._runs.get(run.name, RunStatus(RunPhase.ABSENT))

    def stop(self, run: RunRef) -> None:
        with self._lock:
            if self.status(run).phase in (RunPhase.STARTING, RunPhase.RUNNING):
                self._runs[run.name] = RunStatus(RunPhase.STOPPED)

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        yield from self._logs.get(run.name, [])

    def end(self, run: RunRef, status: RunStatus) -> None:
        """The run is over (or elsewhere on its way)."""
        with self._lock:
            self._runs[run.name] = status

    def lose(self, run: RunRef) -> None:
        """The backend forgets the run."""
        with self._lock:
            self._runs.pop(run.name, None)
