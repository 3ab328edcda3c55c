"""The `local-container` target (S19): a run is a container of the Docker engine, found again by name and labels.

**At most one container per attempt.** Its name is the run's, and Docker gives a name once. Creating and starting it are
two calls inside `docker run`; a lock file in the run's folder, inherited by the docker command, keeps others from
starting what is about to be started, even where Slipway is killed in between.

**The end is recorded before the container goes.** Containers are not run with `--rm`: the exit code and the log must
outlive a restart of Slipway. The first look that finds a run over writes, in this order, its log and its verdict to the
run's folder (`container_folder.py`), and only then removes the container. From then on every answer comes from the
folder: the same status however often it is asked, no second container by a late `start`, no pile of dead containers.
"""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from slipway.adapters.local import docker
from slipway.adapters.local.container_folder import ContainerFolder
from slipway.adapters.local.container_state import Container, container, run_status
from slipway.adapters.local.lock import exclusive, is_held
from slipway.errors import AlreadyExists, NotFound, Refused, SlipwayError, Temporary
from slipway.model import Changed, Launch, RunPhase, RunRef, RunStatus
from slipway.ports import Secrets
from slipway.render.docker import ATTEMPT_LABEL, ITEM_LABEL, run_arguments

PULL_TIMEOUT = 1800.0
"""Seconds that pulling an image may take."""
STOP_TIMEOUT = 600.0
"""Seconds to wait for `docker stop`, which itself waits for the container's own `stop-timeout`."""

_log = logging.getLogger(__name__)


class ContainerTarget:
    """Runs as Docker containers. All that is known of them lies with the engine and in `<home>/runs`, so any process of
    this machine can answer for any run."""

    def __init__(self, home: Path, secrets: Secrets, look_again: float = 60.0) -> None:
        self._runs = home.absolute() / "runs"
        self._secrets = secrets
        self.look_again = look_again
        self.start_lease = 120.0  # a pull may be slow

    def start(self, launch: Launch) -> RunStatus:
        """As `Target.start`. Where the job is an image (`WANDB_DOCKER` names it) it is pulled first, unless the queue's
        config sets `pull` itself; a pull that fails is a warning when the image is on this machine already.

        Raises Invalid for what `docker run` cannot be given, AlreadyExists when the name is another's.
        """
        folder = self._folder(launch.run)
        secrets = self._values(launch)
        arguments = run_arguments(launch, output=str(folder.output), secrets=secrets)
        known = self._known(launch.run)
        warnings = _pulled(launch) if known is None else ()
        if known is None or _to_be_started(known):
            folder.make()
            with exclusive(folder.start_lock) as lock:
                known = self._known(launch.run)
                if known is None:
                    known = _begin(arguments, secrets, launch.run, lock)
                elif _to_be_started(known):
                    known = _begin(["start", launch.run.name], {}, launch.run, lock)
        status = known if isinstance(known, RunStatus) else self._judged(launch.run, known)
        return replace(status, warnings=(*warnings, *status.warnings))

    def status(self, run: RunRef) -> RunStatus:
        """A container that was created but not started, by someone who is no longer at it, is an absent run: `start`
        starts it."""
        folder = self._folder(run)
        ended = folder.ended()
        if ended is not None:
            return ended
        found = _find(run)
        if found is not None and found.unstarted and not is_held(folder.start_lock):
            # Again: it may have been started, and the lock given back, since the first look.
            found = _find(run)
            found = None if found is None or found.unstarted else found
        if found is None or not _is_ours(found, run):
            # Again: another process may have recorded the end, and removed the container, since the first look.
            return folder.ended() or RunStatus(RunPhase.ABSENT)
        return self._judged(run, found)

    def live(self) -> Sequence[RunRef]:
        """Also those of other Slipways on the same engine."""
        shape = f'{{{{.ID}}}}\t{{{{.Label "{ITEM_LABEL}"}}}}\t{{{{.Label "{ATTEMPT_LABEL}"}}}}'
        listed = docker.run("ps", "--no-trunc", "--filter", f"label={ITEM_LABEL}", "--format", shape)
        rows = (line.split("\t") for line in listed.splitlines())
        return [RunRef(item, int(attempt), container) for container, item, attempt in rows if attempt.isdecimal()]

    def stop(self, run: RunRef) -> None:
        """Returns at once. The container gets SIGTERM, and SIGKILL after the `stop-timeout` of the queue's config (10
        seconds where it sets none)."""
        if self.status(run).phase not in (RunPhase.STARTING, RunPhase.RUNNING):
            return
        self._folder(run).ask_to_stop()
        threading.Thread(target=_stop, args=(run.name,), name=f"stop {run.name}", daemon=True).start()

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        """Standard output and error, as they were printed: from the engine while it has the container, then from the
        run's folder."""
        folder, told = self._folder(run), 0
        if folder.ended() is None and (found := _find(run)) is not None and _is_ours(found, run):
            with suppress(NotFound):  # removed under our hands: the rest is in the folder
                for line in docker.lines("logs", *(["--follow"] if follow else []), run.name):
                    yield line
                    told += 1
        yield from folder.log(skip=told)

    def _folder(self, run: RunRef) -> ContainerFolder:
        return ContainerFolder(self._runs / run.name)

    def _values(self, launch: Launch) -> dict[str, str]:
        """The launch's secrets by variable. One that is set nowhere is left out."""
        found = {name: self._secrets.get(reference) for name, reference in launch.secrets.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _known(self, run: RunRef) -> Container | RunStatus | None:
        """The run, if it was started before: its recorded end, or its container."""
        folder = self._folder(run)
        known = folder.ended() or _find(run) or folder.ended()
        if isinstance(known, Container) and not _is_ours(known, run):
            raise AlreadyExists(
                f"a container named {run.name} exists and is not Slipway's (no labels {ITEM_LABEL}={run.item_id} and "
                f"{ATTEMPT_LABEL}={run.attempt}). Remove it with `docker rm {run.name}`, then retry"
            )
        return known

    def _judged(self, run: RunRef, found: Container) -> RunStatus:
        """What the container says of the run. Once that is the last word: recorded, and the container removed."""
        folder = self._folder(run)
        try:
            status = run_status(found, stop_asked=folder.stop_asked)
        except Temporary as unknown:
            _log.warning("%s", unknown.message)
            raise
        if status.phase in (RunPhase.STARTING, RunPhase.RUNNING):
            return status
        hide = [value for reference in found.secrets if (value := self._secrets.get(reference))]
        status = folder.record(status, _whole_log(run), hide)
        try:
            docker.run("rm", "--volumes", run.name)
        except NotFound:
            pass
        except SlipwayError as error:
            _log.warning("container %s is over but stays: %s", run.name, error.message)
        return status


class ContainerWatcher:
    """Tells when a container of Slipway ends, by `docker events`; listens again when the engine comes back."""

    def __init__(self, only: str = ITEM_LABEL, patience: float = 1.0) -> None:
        """`only`: a label (`team=a`) of the containers to hear of, where several Slipways share an engine and their
        queues set `label`. `patience`: seconds before listening again to an engine that was lost, doubled up to 60."""
        self._labels = {ITEM_LABEL, only}
        self._patience = patience
        self._since = time.time()
        self._changes: queue.SimpleQueue[Changed | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._events: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._listen, name="docker events", daemon=True)
        self._thread.start()

    def changes(self, timeout: float) -> Sequence[Changed]:
        """What ended since the last call; blocks up to `timeout` seconds for the first. Empty once closed."""
        found: dict[Changed, None] = {}
        with suppress(queue.Empty):
            change = self._changes.get(timeout=0.0 if self._closed.is_set() else max(0.0, timeout))
            while change is not None:
                found[change] = None
                change = self._changes.get_nowait()
        return tuple(found)

    def close(self) -> None:
        """Wakes a call of `changes` that waits in another thread. Closing twice is closing once."""
        self._closed.set()
        if self._events is not None:
            self._events.kill()
        self._changes.put(None)
        self._thread.join()

    def _listen(self) -> None:
        wait = self._patience
        while not self._closed.is_set():
            try:
                heard = self._hear()
            except SlipwayError as error:
                _log.warning("no events of containers: %s", error.message)
                heard = False
            wait = self._patience if heard else min(wait * 2, 60.0)
            self._closed.wait(wait)

    def _hear(self) -> bool:
        """Passes events on until the stream ends. Starts where the last one ended, so that little is lost between."""
        self._events = docker.stream(
            "events",
            *("--since", f"{self._since:.9f}"),
            *("--filter", "type=container", "--filter", "event=die"),
            *(word for label in sorted(self._labels) for word in ("--filter", f"label={label}")),
            *("--format", "{{json .}}"),
        )
        heard = False
        try:
            if self._closed.is_set():
                return False
            for line in docker.read(self._events):
                try:
                    event = json.loads(line)
                    item = event["Actor"]["Attributes"][ITEM_LABEL]
                    self._since = event["timeNano"] / 1e9
                except (ValueError, KeyError, TypeError):
                    if not heard:
                        _log.warning("docker events: %s", line)
                    continue
                heard = True
                self._changes.put(Changed(item_id=item))
        finally:
            docker.end(self._events)
        return heard


def _find(run: RunRef) -> Container | None:
    try:
        return container(json.loads(docker.run("container", "inspect", run.name))[0])
    except NotFound:
        return None


def _is_ours(found: Container, run: RunRef) -> bool:
    return found.labels.get(ITEM_LABEL) == run.item_id and found.labels.get(ATTEMPT_LABEL) == str(run.attempt)


def _to_be_started(known: Container | RunStatus) -> bool:
    return isinstance(known, Container) and known.unstarted


def _begin(arguments: Sequence[str], secrets: dict[str, str], run: RunRef, lock: int) -> Container:
    """Starts the container and looks at what became of it. Where Docker created it and then could not start it, what it
    says of the container tells more than what it said to us."""
    refusal: SlipwayError | None = None
    try:
        docker.run(*arguments, environment=secrets, timeout=PULL_TIMEOUT, pass_fds=(lock,))
    except SlipwayError as error:
        refusal = error
    found = _find(run)
    if found is not None and _is_ours(found, run) and not found.unstarted:
        return found
    raise refusal or Temporary(f"container {run.name} was started and is gone again; the next look will tell")


def _pulled(launch: Launch) -> tuple[str, ...]:
    if launch.env.get("WANDB_DOCKER") != launch.image or "pull" in launch.resource_args:
        return ()
    platform = launch.resource_args.get("platform")
    chosen = ["--platform", platform] if isinstance(platform, str) else []
    try:
        docker.run("pull", "--quiet", *chosen, launch.image, timeout=PULL_TIMEOUT)
    except SlipwayError as error:
        try:
            docker.run("image", "inspect", "--format", "{{.Id}}", launch.image)
        except SlipwayError:
            if isinstance(error, Temporary) and not isinstance(error, Refused):
                # Nothing was started, so there is no unknown outcome to look for.
                raise Refused(error.message, error.retry_after) from error
            raise error from None
        return (f"the image on this machine is used as it is: {error.message}",)
    return ()


def _stop(name: str) -> None:
    try:
        docker.run("stop", name, timeout=STOP_TIMEOUT)
    except SlipwayError as error:
        _log.warning("container %s was not stopped, and will be asked again: %s", name, error.message)


def _whole_log(run: RunRef) -> Iterator[str]:
    try:
        yield from docker.lines("logs", run.name)
    except Temporary:
        raise
    except SlipwayError as error:
        # Its `log-driver` cannot be read, or someone removed the container: its end counts all the same.
        yield error.message
