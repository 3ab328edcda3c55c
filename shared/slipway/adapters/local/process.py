"""Runs as plain processes of this machine: the resource `local-process`.

No isolation: a run can do what Slipway's own user can. Everything about one run lies in `<home>/runs/<run name>/`:

    run.json      whose it is: item, attempt, and under which references its secrets lie
    work/         a private copy of the source tree; the run starts here
    output/       SLIPWAY_OUTPUT_DIR; a `metrics.json` left there is kept with the item
    process/      the process, its log and its end (see `supervised.py`)
    stopped       present once somebody asked it to stop

The folder is prepared under another name and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from slipway.adapters.local.metrics import read_metrics
from slipway.adapters.local.process_args import ProcessArgs
from slipway.adapters.local.supervised import Phase, Status, Supervised
from slipway.errors import AlreadyExists, Invalid, Permanent, Problem, Refused, SlipwayError
from slipway.model import Failure, Launch, RunPhase, RunRef, RunStatus
from slipway.ports import Secrets

_PREFIX = "env:"
_MACHINE = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
"""What a run inherits from the machine. Nothing else: Slipway's own environment holds credentials."""
_WORDS = 400


class ProcessTarget:
    """A `ports.Target`. `launch.image` is `env:<folder>` with `src/` and, perhaps, `venv/`; `environ` is the machine's.

    The command is executed directly, with no shell between. Its environment is, later ones winning: five variables of
    the machine, PYTHONUNBUFFERED=1 (else a followed log stays empty), the queue's `env`, the launch's, its secrets
    (one that is set nowhere is left out), SLIPWAY_OUTPUT_DIR; then the virtual environment goes first on PATH.
    """

    def __init__(
        self, home: Path, secrets: Secrets, look_again: float = 60.0, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.look_again = look_again
        self.start_lease = 10.0
        self._over: set[str] = set()
        self._runs = home.absolute() / "runs"
        self._secrets = secrets
        self._environ = environ

    def start(self, launch: Launch) -> RunStatus:
        """Permanent: no command, a container image, no such environment, wrong resource args (Invalid). Refused: the
        run's folder cannot be prepared (a full disk). A command that is not found is a failed run."""
        folder = self._folder(launch.run)
        if folder.exists():
            _check_ours(folder, launch.run)
            found = self.status(launch.run)
            if found.phase is not RunPhase.ABSENT:
                return found
        if not launch.command:
            raise Permanent("command: local-process needs one, and the job has no entry point; submit with -E")
        environment = _environment_folder(launch.image)
        args = ProcessArgs.parse(launch.resource_args)
        env = self._env(launch, args, environment)
        _prepare(folder, environment / "src", launch)
        Supervised(folder / "process").start(
            launch.command, env=env, cwd=_inside(folder / "work", args.cwd), label=f"item:{launch.run.item_id}"
        )
        return self.status(launch.run)

    def status(self, run: RunRef) -> RunStatus:
        folder = self._folder(run)
        if not folder.is_dir():
            return RunStatus(RunPhase.ABSENT)
        process = Supervised(folder / "process")
        now = process.status()
        if now.phase is Phase.RUNNING:
            return RunStatus(RunPhase.RUNNING, backend_id=str(folder))
        stopped = (folder / "stopped").exists()
        if now.phase is Phase.ABSENT:
            # Prepared, then a crash: as good as absent, unless it must not start any more.
            return RunStatus(RunPhase.STOPPED, "stopped before it began") if stopped else RunStatus(RunPhase.ABSENT)
        phase, reason = _verdict(now, stopped)
        if phase is RunPhase.FAILED and now.phase is Phase.EXITED:
            reason = self._with_last_words(folder, process, reason)
        kept, warnings = read_metrics(folder / "output")
        failure = Failure.INFRASTRUCTURE if now.phase is Phase.LOST else Failure.USER
        return RunStatus(phase, reason, str(folder), now.exit_code, kept, warnings, failure)

    def live(self) -> Sequence[RunRef]:
        """Folders stay when their runs are over: what was over once is not looked at again."""
        found = []
        names = {folder.name for folder in self._runs.iterdir()} if self._runs.is_dir() else set()
        for name in sorted(names - self._over):
            item_id, _, attempt = name.removeprefix("slipway-").rpartition("-")
            if not attempt.isdecimal():
                continue
            phase = Supervised(self._runs / name / "process").status().phase
            if phase is Phase.RUNNING:
                found.append(RunRef(item_id, int(attempt), str(self._runs / name)))
            elif phase in (Phase.EXITED, Phase.LOST):
                self._over.add(name)
        return found

    def stop(self, run: RunRef) -> None:
        """SIGTERM, and SIGKILL ten seconds later, to the run's process group."""
        folder = self._folder(run)
        process = Supervised(folder / "process")
        if not folder.is_dir() or process.status().phase in (Phase.EXITED, Phase.LOST):
            return
        with suppress(OSError):  # a full disk: stopping it matters more than the word for it
            (folder / "stopped").touch(mode=0o600)
        process.stop()

    def logs(self, run: RunRef, follow: bool = False) -> Iterator[str]:
        return Supervised(self._folder(run) / "process").logs(follow)

    def _folder(self, run: RunRef) -> Path:
        return self._runs / run.name

    def _env(self, launch: Launch, args: ProcessArgs, environment: Path) -> dict[str, str]:
        env = {name: self._environ[name] for name in _MACHINE if name in self._environ}
        env |= {"PYTHONUNBUFFERED": "1"} | args.environment(self._environ) | dict(launch.env)
        for name, reference in launch.secrets.items():
            value = self._secrets.get(reference)
            if value is not None:
                env[name] = value
        env["SLIPWAY_OUTPUT_DIR"] = str(self._folder(launch.run) / "output")
        venv = environment / "venv"
        if venv.is_dir():
            env["VIRTUAL_ENV"] = str(venv)
            env["PATH"] = f"{venv / 'bin'}:{env.get('PATH', os.defpath)}"
        return env

    def _with_last_words(self, folder: Path, process: Supervised, reason: str) -> str:
        """The reason and the last two lines of the log, without the run's secrets: a reason is stored and shown."""
        words = " | ".join([line.strip() for line in process.tail(20).splitlines() if line.strip()][-2:])
        try:
            for reference in _record(folder).get("secrets", ()):
                for line in (self._secrets.get(reference) or "").split("\n"):
                    words = words.replace(line.strip(), "***") if line.strip() else words
        except SlipwayError:
            words = ""  # a secret that cannot be read now cannot be hidden either
        return f"{reason}: {words[-_WORDS:]}" if words else reason


def _environment_folder(image: str) -> Path:
    folder = Path(image.removeprefix(_PREFIX))
    if not image.startswith(_PREFIX) or not folder.is_absolute():
        raise Permanent(
            f"image {image!r}: local-process cannot run a container image; submit to a local-container queue, or from "
            "a git repository or an archive"
        )
    if not (folder / "src").is_dir():
        raise Permanent(f"image {image!r}: there is no such environment any more; submit again to have it built")
    return folder


def _prepare(folder: Path, source: Path, launch: Launch) -> None:
    """Makes the run's folder, or finds it made and ours. One at a time per run, also among processes."""
    draft = folder.with_name(f".{folder.name}")
    try:
        if not folder.exists():
            draft.mkdir(mode=0o700, parents=True, exist_ok=True)
            _fill(draft, folder, source, launch)
    except OSError as error:
        if not folder.exists():  # else another process was faster, and took the draft from under our hands
            raise Refused(f"{folder}: the run's folder cannot be prepared: {error}; free some space?") from error
    _check_ours(folder, launch.run)


def _fill(draft: Path, folder: Path, source: Path, launch: Launch) -> None:
    """Under a lock on the draft itself, which a crash gives back; what a crash left in the draft is made anew."""
    lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            draft.rmdir()  # ours and empty: the draft that we waited for is the folder now
            return
        shutil.rmtree(draft / "work", ignore_errors=True)
        shutil.copytree(source, draft / "work", symlinks=True)
        (draft / "output").mkdir(exist_ok=True)
        run = {"item": launch.run.item_id, "attempt": launch.run.attempt, "secrets": sorted(launch.secrets.values())}
        (draft / "run.json").write_text(json.dumps(run))
        draft.rename(folder)
    finally:
        os.close(lock)


def _check_ours(folder: Path, run: RunRef) -> None:
    found = _record(folder)
    if (found.get("item"), found.get("attempt")) != (run.item_id, run.attempt):
        raise AlreadyExists(f"{folder} is there, and is no folder of this run; move it away")


def _record(folder: Path) -> Mapping[str, Any]:
    try:
        record: Mapping[str, Any] = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record


def _inside(work: Path, cwd: str) -> Path:
    """The folder the run starts in. Links may not lead it out of the run's own copy."""
    folder = (work / cwd).resolve()
    if not folder.is_relative_to(work.resolve()):
        raise Invalid(Problem("resource_args.cwd", "must stay inside the source tree", cwd))
    if not folder.is_dir():
        raise Invalid(Problem("resource_args.cwd", "there is no such folder in the source tree", cwd))
    return folder


def _verdict(process: Status, stopped: bool) -> tuple[RunPhase, str]:
    """What the end of the process means. `process` is over."""
    if stopped:
        return RunPhase.STOPPED, ""
    if process.exit_code is None:
        return RunPhase.FAILED, "the process disappeared: the machine restarted, or its supervisor was killed"
    if process.exit_code == 0:
        return RunPhase.FINISHED, ""
    return RunPhase.FAILED, _end(process.exit_code)


def _end(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (" (the kernel does that when memory runs out)" if name == "SIGKILL" else "")
