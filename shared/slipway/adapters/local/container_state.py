"""What the state that Docker gives a container means for a run. Pure, and total over Docker's documented words.

They are created, running, paused, restarting, removing, exited and dead: `ContainerState` in
https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.errors import Temporary
from slipway.model import Failure, Json, RunPhase, RunStatus
from slipway.render.docker import SECRETS_LABEL

_BEGINNINGS = {
    126: "the entry point cannot be executed: check its permissions and its first line",
    127: "the entry point was not found in the image: check its name, and PATH in the image",
    128: "Docker could not start it",
}


@dataclass(frozen=True, slots=True)
class Container:
    """A container as `docker container inspect` shows it: its id, its labels and its `State`."""

    id: str
    labels: Mapping[str, str]
    state: Mapping[str, Json]

    @property
    def unstarted(self) -> bool:
        """Created, and neither started nor refused by Docker: it is about to be started, or its starter was killed."""
        return self.state.get("Status") == "created" and not self.state.get("Error")

    @property
    def secrets(self) -> list[str]:
        """The references of the secrets it was given."""
        return list(json.loads(self.labels.get(SECRETS_LABEL, "[]")))


def container(inspected: Mapping[str, Json]) -> Container:
    config = inspected.get("Config") or {}
    return Container(inspected["Id"], config.get("Labels") or {}, inspected.get("State") or {})


def run_status(found: Container, *, stop_asked: bool) -> RunStatus:
    """The run of a container of ours. `stop_asked`: somebody wished for its end while it still ran.

    Raises Temporary for a word that Docker does not document.
    """
    word = found.state.get("Status")
    match word:
        case "created" if found.unstarted:
            return RunStatus(RunPhase.STARTING, "created, not started yet", found.id)
        case "running" | "paused" | "restarting" | "removing":
            reason = "" if word == "running" else f"its container is {word}"
            return RunStatus(RunPhase.RUNNING, "stopping" if stop_asked else reason, found.id)
        case "created" | "exited" | "dead":
            return _over(found, stop_asked)
        case _:
            raise Temporary(f"container {found.id[:12]}: Docker says it is {word!r}, which it does not document")


def _over(found: Container, stop_asked: bool) -> RunStatus:
    code = int(found.state.get("ExitCode") or 0)
    error = str(found.state.get("Error") or "")
    if stop_asked:
        return RunStatus(RunPhase.STOPPED, "stopped", found.id, code)
    if found.state.get("Status") == "created":
        reason = f"{_BEGINNINGS.get(code, _BEGINNINGS[128])}; Docker: {error}"
        return RunStatus(RunPhase.FAILED, reason, found.id, code, failure=Failure.CONFIGURATION)
    if code == 0 and not error:
        return RunStatus(RunPhase.FINISHED, "", found.id, 0)
    said = f"; Docker: {error}" if error else ""
    return RunStatus(RunPhase.FAILED, _ending(code, bool(found.state.get("OOMKilled"))) + said, found.id, code)


def _ending(code: int, out_of_memory: bool) -> str:
    if out_of_memory:
        return f"out of memory: the kernel killed it (exit code {code}). Raise `memory` in the queue's config"
    if code in (126, 127):
        return f"exit code {code}: {_BEGINNINGS[code]}"
    if code == 125:
        return "exit code 125: where the job itself did not choose that code, Docker failed to run it"
    if 128 < code < 128 + signal.NSIG:
        return f"killed by {_signal(code - 128)} (exit code {code})"
    return f"exit code {code}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
