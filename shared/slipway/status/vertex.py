"""The state of a Vertex AI CustomJob as a run's (S18).

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState. W&B Launch calls all but four of them unknown, and
watches a cancelled job for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

from slipway.errors import Temporary
from slipway.model import Failure, Json, RunPhase, RunStatus

_PHASES: Mapping[str, tuple[RunPhase, str]] = {
    "JOB_STATE_QUEUED": (RunPhase.STARTING, "queued"),
    "JOB_STATE_PENDING": (RunPhase.STARTING, "pending"),
    "JOB_STATE_RUNNING": (RunPhase.RUNNING, ""),
    "JOB_STATE_UPDATING": (RunPhase.RUNNING, "updating"),
    "JOB_STATE_PAUSED": (RunPhase.RUNNING, "paused"),
    "JOB_STATE_CANCELLING": (RunPhase.RUNNING, "stopping"),
    "JOB_STATE_SUCCEEDED": (RunPhase.FINISHED, ""),
    "JOB_STATE_PARTIALLY_SUCCEEDED": (RunPhase.FINISHED, "partially succeeded"),
    "JOB_STATE_FAILED": (RunPhase.FAILED, ""),
    "JOB_STATE_EXPIRED": (RunPhase.FAILED, "expired"),
    "JOB_STATE_CANCELLED": (RunPhase.STOPPED, ""),
}
INFRASTRUCTURE = frozenset({8, 13, 14})
"""google.rpc.Code: RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE."""


def run_status(job: Mapping[str, Json]) -> RunStatus:
    """Of a CustomJob as its `get` gives it. Raises Temporary for a state that is not documented."""
    state, name = str(job.get("state")), job.get("name")
    if state not in _PHASES:
        raise Temporary(f"Vertex AI says '{state}' of {name}, a state that it does not document")
    phase, reason = _PHASES[state]
    error = job.get("error") or {}
    if phase is not RunPhase.FAILED:
        return RunStatus(phase, reason, name)
    fault = Failure.INFRASTRUCTURE if error.get("code") in INFRASTRUCTURE else Failure.USER
    return RunStatus(phase, str(error.get("message") or reason or "Vertex AI gave no reason"), name, failure=fault)
