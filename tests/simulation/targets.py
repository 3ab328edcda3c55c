"""Backends that run jobs, as vendors are: slow, forgetful, in no order, busy, and in two minds about names.

`Vendor` is the truth: the jobs that really exist. `NamedTarget` and `LabelledTarget` are adapters as they would be
written for one that takes our names (SageMaker, Kubernetes) and one that gives its own (Vertex): each of their calls on
the vendor is a call on the world, where others may go first and where anything may go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation.calls import Calls, Port
from tests.simulation.scheduler import Scheduler

from slipway.errors import AlreadyExists, Invalid, Problem, Refused, Temporary
from slipway.model import Failure, Launch, RunPhase, RunRef, RunStatus
from slipway.ports import Secrets

ALIVE = (RunPhase.STARTING, RunPhase.RUNNING)
ENDS: Mapping[str, RunStatus] = {
    "finishes": RunStatus(RunPhase.FINISHED, exit_code=0),
    "fails": RunStatus(RunPhase.FAILED, "exit code 1", exit_code=1),
    "loses its node": RunStatus(RunPhase.FAILED, "node lost", failure=Failure.INFRASTRUCTURE),
    "is preempted": RunStatus(RunPhase.PREEMPTED, "node drained"),
    "is stopped by hand": RunStatus(RunPhase.STOPPED, "stopped in the console"),
}
"""How a job may end, and what a vendor then says of it."""


@dataclass(frozen=True)
class Habits:
    """How this vendor behaves, drawn from the seed."""

    takes_names: bool
    lag: float
    """Seconds by which an answer about a job may be behind. Not monotonic: the next may be older."""
    retries: bool
    """The vendor's own library tries once more what got no answer, where the vendor takes our names."""
    start: tuple[float, ...]
    """Seconds until a created job runs."""
    run: tuple[float, ...]
    """Seconds it then runs; infinity for one that must be stopped."""
    ends: tuple[str, ...]
    forgets: float
    """Of how many jobs that run one vanishes without a trace."""
    stop: tuple[float, ...]
    """Seconds a stop takes."""
    deaf: float
    """Of how many stops one is not heard."""
    rejects: float
    """Of how many jobs one is not taken as it is."""


@dataclass
class Job:
    """One job that really exists or existed."""

    number: int
    run: RunRef
    history: list[tuple[float, RunStatus]] = field(default_factory=list)
    forgotten_at: float | None = None

    @property
    def status(self) -> RunStatus:
        return self.history[-1][1]

    @property
    def alive(self) -> bool:
        return self.forgotten_at is None and self.status.phase in ALIVE

    def seen_at(self, when: float) -> RunStatus | None:
        """What was true then; None where it was not known then, or no longer."""
        if self.forgotten_at is not None and self.forgotten_at <= when:
            return None
        found = None
        for at, status in self.history:
            if at <= when:
                found = status
        return found


class Vendor:
    """The jobs. `created` and `changed` hear of each as it happens; `may_forget` says whether one may vanish now."""

    def __init__(
        self,
        scheduler: Scheduler,
        calls: Calls,
        habits: Habits,
        created: Callable[[Job], None],
        changed: Callable[[Job], None],
        may_forget: Callable[[Job], bool],
    ) -> None:
        self.jobs: list[Job] = []
        self.habits = habits
        self._scheduler = scheduler
        self._calls = calls
        self._created = created
        self._changed = changed
        self._may_forget = may_forget
        self._by_name: dict[str, list[Job]] = {}

    # --- the vendor's interface
    def create(self, run: RunRef) -> Job:
        """Raises AlreadyExists where it takes our names and has this one."""
        name = run.name
        taken = self._by_name.get(name, [])
        if self.habits.takes_names and any(job.forgotten_at is None for job in taken):
            raise AlreadyExists(f"409: {name}")
        self._calls.refuse(name)
        rng = self._scheduler.rng
        if self.habits.rejects and rng.random() < self.habits.rejects:
            self._scheduler.faults["not taken as it is"] += 1
            raise Invalid(Problem("instance_type", "there is none of this kind", "p9"))
        job = Job(len(self.jobs) + 1, run)
        job.history.append((self._scheduler.now, RunStatus(RunPhase.STARTING, "provisioning", f"job-{job.number}")))
        self.jobs.append(job)
        self._by_name.setdefault(name, []).append(job)
        self._created(job)
        self._scheduler.after(rng.choice(self.habits.start), lambda: self._begin(job))
        return job

    def labelled(self, run: RunRef) -> Job | None:
        """The job with this run's label, as it is now. A list before a create is asked for without lag."""
        found = [job for job in self._by_name.get(run.name, ()) if job.forgotten_at is None]
        alive = [job for job in found if job.alive]
        return (alive or found or [None])[0]

    def describe(self, run: RunRef) -> RunStatus:
        """As it is, or as it was a moment ago."""
        lag = self.habits.lag
        behind = lag * self._scheduler.rng.random() if lag else 0.0
        when = self._scheduler.now - behind
        seen = [status for job in self._by_name.get(run.name, ()) if (status := job.seen_at(when)) is not None]
        answer = next((status for status in seen if status.phase in ALIVE), seen[0] if seen else None)
        answer = answer or RunStatus(RunPhase.ABSENT)
        if behind:
            job = self.labelled(run)
            if answer.phase is not (job.status.phase if job else RunPhase.ABSENT):
                self._scheduler.faults["stale answer about a run"] += 1
        return answer

    def list(self) -> Sequence[RunRef]:
        return [RunRef(job.run.item_id, job.run.attempt, job.status.backend_id) for job in self.jobs if job.alive]

    def stop(self, run: RunRef) -> None:
        for job in self._by_name.get(run.name, ()):
            if job.alive and self.habits.deaf and self._scheduler.rng.random() < self.habits.deaf:
                self._scheduler.faults["a stop is not heard"] += 1
            elif job.alive:
                seconds = self._scheduler.rng.choice(self.habits.stop)
                self._scheduler.after(seconds, partial(self._move, job, RunStatus(RunPhase.STOPPED, "stopped")))

    # --- what becomes of a job
    def _begin(self, job: Job) -> None:
        if job.status.phase is RunPhase.STARTING and self._move(job, RunStatus(RunPhase.RUNNING)):
            self._scheduler.after(self._scheduler.rng.choice(self.habits.run), lambda: self._finish(job))

    def _finish(self, job: Job) -> None:
        rng = self._scheduler.rng
        if self.habits.forgets and rng.random() < self.habits.forgets:
            self._forget(job)
            return
        end = rng.choice(self.habits.ends)
        if job.alive and end != "finishes":
            self._scheduler.faults[f"a run {end}"] += 1
        self._move(job, ENDS[end])

    def _forget(self, job: Job) -> None:
        if not job.alive:
            return
        if not self._may_forget(job):
            self._scheduler.after(7.0, lambda: self._forget(job))
            return
        self._scheduler.faults["a run vanishes"] += 1
        self._scheduler.note(f"the backend forgets {job.run.name}")
        job.forgotten_at = self._scheduler.now
        self._changed(job)

    def _move(self, job: Job, status: RunStatus) -> bool:
        if not job.alive:
            return False
        told = RunStatus(status.phase, status.reason, f"job-{job.number}", status.exit_code, failure=status.failure)
        job.history.append((self._scheduler.now, told))
        self._scheduler.note(f"the backend: {job.run.name} (job-{job.number}) is {status.phase}")
        self._changed(job)
        return True


class NamedTarget:
    """An adapter for a vendor that takes our names: a name that is taken is ours already, after a look."""

    look_again = 60.0

    def __init__(self, vendor: Vendor, calls: Calls, secrets: Secrets, start_lease: float) -> None:
        self.start_lease = start_lease
        self._vendor: Any = Port(vendor, "vendor", calls)
        self._secrets = secrets

    def start(self, launch: Launch) -> RunStatus:
        _environment(launch, self._secrets)
        try:
            return _as_it_is(self._create(launch.run))
        except AlreadyExists:
            ours = self._vendor.labelled(launch.run)
            if ours is None:
                raise
            return _as_it_is(ours)

    def status(self, run: RunRef) -> RunStatus:
        status: RunStatus = self._vendor.describe(run)
        return status

    def live(self) -> Sequence[RunRef]:
        runs: Sequence[RunRef] = self._vendor.list()
        return runs

    def stop(self, run: RunRef) -> None:
        self._vendor.stop(run)

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        return iter(())

    def _create(self, run: RunRef) -> Job:
        retries = self._vendor.habits.retries
        try:
            job: Job = self._vendor.create(run)
        except Refused:
            raise
        except Temporary:
            if not retries:
                raise
            job = self._vendor.create(run)
        # Every fifth answer is lost between the vendor and its library, which asks again.
        return self._vendor.create(run) if retries and job.number % 5 == 3 else job


class LabelledTarget(NamedTarget):
    """An adapter for a vendor that gives its own names: what has our label is looked for before anything is created."""

    def start(self, launch: Launch) -> RunStatus:
        _environment(launch, self._secrets)
        ours = self._vendor.labelled(launch.run)
        return _as_it_is(self._vendor.create(launch.run) if ours is None else ours)


def _as_it_is(job: Job) -> RunStatus:
    """An answer to `create` is never behind."""
    return job.status


def _environment(launch: Launch, secrets: Secrets) -> dict[str, str]:
    """What the job would get, secrets among it: they are read here, and go nowhere else."""
    return {**launch.env, **{name: secrets.get(reference) or "" for name, reference in launch.secrets.items()}}
