"""What an item says about its runs is so: the backend's own books say the same.

The orphan sweep stops what was given up by mistake, and the item looks as if its run had failed. So whether it was
right to give a run up is asked at the moment when it happens.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.targets import Job

from slipway.machine import MAX_RESUMES
from slipway.model import Desired, Item, RunPhase, State


def told_as_it_is(before: Item, after: Item, jobs: Sequence[Job]) -> str | None:
    """What is wrong with this save. `jobs` are those of the attempt that it was at."""
    if after.state is State.FINISHED and not any(job.status.phase is RunPhase.FINISHED for job in jobs):
        return "it is said to have finished, and no run of it has"
    if after.resumes > MAX_RESUMES:
        return f"it was resumed {after.resumes} times"
    if _given_up(before, after) and (alive := [job for job in jobs if job.alive]):
        return f"it was given up ({after.reason}), and job-{alive[0].number} of it is alive"
    return None


def _given_up(before: Item, after: Item) -> bool:
    """It failed, or goes on with another attempt, and neither a wish nor its deadline is why."""
    launched = before.state in (State.STARTING, State.RUNNING)
    late = before.deadline is not None and after.timeline[-1].at >= before.deadline
    over = after.state is State.FAILED or after.attempt > before.attempt
    return launched and over and after.desired is Desired.RUN and not late
