"""What a container run leaves on this machine's disk, so that its end is known when its container is gone.

<home>/runs/<run.name>/
    output/       mounted at /slipway/output
    start.lock    held while the container is created and started
    end.lock      held while the end is recorded
    stop          made when somebody asked it to stop while it ran
    log           what it printed, once it is over
    ended.json    its RunStatus, once it is over
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from slipway.adapters.local.lock import exclusive
from slipway.adapters.local.metrics import read_metrics
from slipway.errors import Temporary
from slipway.model import Json, RunPhase, RunStatus

_WORDS = 400


class ContainerFolder:
    """The folder of one run. Raises Temporary where the disk does not do its part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = path / "output"
        self.start_lock = path / "start.lock"
        self._stop = path / "stop"
        self._log = path / "log"
        self._ended = path / "ended.json"

    def make(self) -> None:
        """Whatever user the image runs as may write to the output; on the host, the run's folder lets nobody pass."""
        with _disk(self.output):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.output.mkdir(exist_ok=True)
            self.output.chmod(0o777)

    def ask_to_stop(self) -> None:
        with _disk(self._stop):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stop.touch()

    @property
    def stop_asked(self) -> bool:
        return self._stop.exists()

    def ended(self) -> RunStatus | None:
        """How the run ended, once that was recorded."""
        try:
            kept = json.loads(self._ended.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Temporary(f"{self._ended} cannot be read: {error}") from error
        return RunStatus(**{**kept, "phase": RunPhase(kept["phase"]), "warnings": tuple(kept["warnings"])})

    def record(self, status: RunStatus, log: Iterable[str], hide: Collection[str] = ()) -> RunStatus:
        """Keeps the log and the end of a run: with its metrics, and for a failure the last words of the log, in which
        the secrets in `hide` are blacked out. An end that was recorded before stays. Returns the one that counts."""
        with exclusive(self.path / "end.lock"):
            earlier = self.ended()
            if earlier is not None:
                return earlier
            words = self._keep_log(log)
            for secret in hide:
                words = words.replace(secret, "***")
            failed = status.phase is RunPhase.FAILED and words
            metrics, warnings = _metrics(self.output)
            status = replace(
                status,
                reason=f"{status.reason}: {words[-_WORDS:]}" if failed else status.reason,
                metrics=metrics,
                warnings=(*status.warnings, *warnings),
            )
            self._keep(status)
        return status

    def log(self, skip: int) -> Iterator[str]:
        """The recorded log from its line number `skip`, counted from 0. Nothing while the run is not over."""
        try:
            file = self._log.open(encoding="utf-8", errors="replace", newline="\n")
        except FileNotFoundError:
            return
        with file:
            for line in islice(file, skip, None):
                yield line.removesuffix("\n")

    def _keep_log(self, log: Iterable[str]) -> str:
        """Returns the last two lines that are not blank, as one."""
        last: deque[str] = deque(maxlen=2)
        draft = self.path / "log.draft"
        with _disk(draft):
            with draft.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
                for line in log:
                    file.write(f"{line}\n")
                    if line.strip():
                        last.append(line.strip())
            draft.replace(self._log)
        return " | ".join(last)

    def _keep(self, status: RunStatus) -> None:
        draft = self.path / "ended.draft"
        with _disk(self._ended):
            with draft.open("w", encoding="utf-8") as file:
                json.dump(asdict(status), file)
                # The container goes next: after a power cut this is all that is left of the run.
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._ended)


def _metrics(output: Path) -> tuple[dict[str, Json], tuple[str, ...]]:
    if (output / "metrics.json").is_symlink():
        # It would be followed on this machine, outside the container that made it.
        return {}, ("metrics.json is not kept: it is a link",)
    return read_metrics(output)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Temporary(f"{path}: {error.strerror or error}") from error
