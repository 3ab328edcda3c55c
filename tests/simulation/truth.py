"""What an item says about its runs is so: the backend's own books say the same.

The orphan sweep stops what was given up by mistake, and the item looks as if its run had failed. So whether it was
right to give a run up is asked at the moment when it happens.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.targets import Job

from slipway.model import Desired, Item, RunPhase, State

SOUND = (RunPhase.STARTING, RunPhase.RUNNING, RunPhase.FINISHED)


def told_as_it_is(before: Item, after: Item, jobs: Sequence[Job]) -> str | None:
    """What is wrong with this save. `jobs` are those of the attempt that it was at."""
    if after.state is State.FINISHED and not any(job.status.phase is RunPhase.FINISHED for job in jobs):
        return "it is said to have finished, and no run of it has"
    if after.resumes > before.max_resumes:
        return f"it was resumed {after.resumes} times"
    sound = [job for job in jobs if job.forgotten_at is None and job.status.phase in SOUND]
    if sound and _given_up(before, after):
        return f"it was given up ({after.reason}), and job-{sound[0].number} of it is {sound[0].status.phase}"
    return None


def _given_up(before: Item, after: Item) -> bool:
    """It failed, or is in line again, and neither a wish nor its deadline is why."""
    launched = before.state in (State.STARTING, State.RUNNING)
    late = before.deadline is not None and after.timeline[-1].at >= before.deadline
    return launched and after.state in (State.FAILED, State.PENDING) and after.desired is Desired.RUN and not late
