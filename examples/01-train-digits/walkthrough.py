"""From a git repository to finished runs with their metrics, in one go: what `make run` does.

It starts Slipway in a temporary folder and does what a user would do in a terminal, with the same commands,
printed as they are run: apply a queue, submit three runs of one job and one that the queue refuses, watch
them, read the results. Exits 0 only if all of that happened; leaves nothing running.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from dulwich import porcelain
from rich.console import Console
from rich.live import Live
from rich.table import Table

HERE = Path(__file__).parent
SLIPWAY = [str(Path(sys.executable).with_name("slipway"))]
BASE_IMAGE = f"python:{platform.python_version_tuple()[0]}.{platform.python_version_tuple()[1]}-slim"
PATIENCE = 600.0
"""Seconds after which it is given up. The first build downloads scikit-learn."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="slipway-run-"))
    environment = {**os.environ, "SLIPWAY_HOME": str(folder / "data"), "SLIPWAY_ENTITY": "demo"}
    resource, why = choose_resource()
    say(f"Runs go to [bold]{resource}[/]: {why}.")
    server = start(folder, environment)
    try:
        apply_queue(folder, resource, environment)
        repository = make_repository(folder)
        items = submit_three(repository, environment)
        show_refusal(repository, environment)
        runs = watch(items, environment)
        return report(runs, folder, environment)
    except Failure as failure:
        console.print(f"[red]{failure}[/]\nSlipway's own log: {folder / 'up.log'}")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted: cancelling what runs")
        for item in json.loads(slipway("ps", "-o", "json", environment=environment, quiet=True).stdout or "[]"):
            slipway("cancel", item["id"], environment=environment)
        return 130
    finally:
        stop(server)


def choose_resource() -> tuple[str, str]:
    """Docker when an engine answers and the base image can be had; a process of this machine otherwise."""
    if shutil.which("docker") is None:
        return "local-process", "there is no docker command here"
    if not succeeds(["docker", "version"]):
        return "local-process", "no Docker engine answers here"
    if succeeds(["docker", "image", "inspect", BASE_IMAGE]):
        return "local-container", f"a Docker engine answers and has {BASE_IMAGE}"
    if succeeds(["docker", "pull", "--quiet", BASE_IMAGE]):
        return "local-container", f"a Docker engine answers and {BASE_IMAGE} could be pulled"
    return "local-process", f"a Docker engine answers, but {BASE_IMAGE} is not here and cannot be pulled"


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [*SLIPWAY, "up", "--port", "0", "--workers", "2", "--allow-local-paths"]
    show_command(command)
    with (folder / "up.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    ready = folder / "data" / "up.json"
    deadline = time.monotonic() + 30
    while not ready.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            stop(server)
            console.print(f"[red]slipway up did not start:[/]\n{(folder / 'up.log').read_text()}")
            raise SystemExit(1)
        time.sleep(0.05)
    return server


def apply_queue(folder: Path, resource: str, environment: dict[str, str]) -> None:
    queue = HERE / "queue.yaml"
    if resource != "local-process":
        document = {**yaml.safe_load(queue.read_text()), "resource": resource}
        queue = folder / "queue.yaml"
        queue.write_text(yaml.safe_dump(document, sort_keys=False))
    expect(0, slipway("queue", "apply", str(queue), environment=environment))


def make_repository(folder: Path) -> Path:
    """A git repository with the example job in it, as a user would have one."""
    repository = folder / "digits"
    shutil.copytree(HERE / "job", repository, ignore=shutil.ignore_patterns("__pycache__", "metrics.json"))
    porcelain.init(str(repository)).close()
    porcelain.add(str(repository), [str(path) for path in repository.rglob("*.*") if ".git" not in path.parts])
    author = b"Slipway example <example@slipway.invalid>"
    commit = porcelain.commit(str(repository), message=b"Train on digits", author=author, committer=author)
    say(f"Made a git repository of the job: {repository} at {commit.decode()[:12]}.")
    return repository


def submit_three(repository: Path, environment: dict[str, str]) -> list[str]:
    items = []
    for name, rate, units in (("small", 0.003, 32), ("middle", 0.005, 64), ("wide", 0.01, 128)):
        variables = ("--set-var", f"learning_rate={rate}", "--set-var", f"hidden_units={units}")
        done = slipway(*submission(repository), "--name", name, *variables, "-o", "json", environment=environment)
        expect(0, done)
        items.append(json.loads(done.stdout)["id"])
    return items


def show_refusal(repository: Path, environment: dict[str, str]) -> None:
    say("And one outside the queue's limits, which must be refused:")
    done = slipway(*submission(repository), "--set-var", "learning_rate=5", environment=environment)
    console.print(f"  [yellow]{done.stderr.strip()}[/]")
    expect(3, done)
    for word in ("learning_rate", "5", "0.1"):
        if word not in done.stderr:
            raise Failure(f"the refusal does not name {word!r}")


def watch(items: list[str], environment: dict[str, str]) -> list[dict[str, Any]]:
    say("Their progress:")
    deadline = time.monotonic() + PATIENCE
    seen: dict[str, str] = {}
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            runs = [json.loads(slipway("show", item, "-o", "json", environment=environment, quiet=True).stdout)
                    for item in items]  # fmt: skip
            if sys.stdout.isatty():
                live.update(progress(runs))
            for run in runs:
                if seen.get(run["id"]) != run["state"]:
                    seen[run["id"]] = run["state"]
                    reason = run["reason"].splitlines()[0] if run["reason"] else ""
                    live.console.print(f"  {run['name']:15} {run['state']:9} {reason}")
            if all(run["ended_at"] for run in runs):
                return runs
            if time.monotonic() > deadline:
                raise Failure(f"not over after {PATIENCE:.0f} s")
            time.sleep(0.3)


def progress(runs: list[dict[str, Any]]) -> Table:
    table = Table("run", "state", "for")
    for run in runs:
        last = run["timeline"][-1]
        table.add_row(run["name"], run["state"], str(last.get("reason") or "")[:60])
    return table


def report(runs: list[dict[str, Any]], folder: Path, environment: dict[str, str]) -> int:
    table = Table("run", "state", "seconds", "accuracy", "built from source hash", "build", "item")
    made = list((folder / "data").glob("builds/[!.]*"))
    builds: dict[str, str] = {}
    for run in sorted(runs, key=lambda each: each["created_at"]):
        first = "made" if made else "there from before"
        shared = f"the one of {builds[run['source_hash']]}" if run["source_hash"] in builds else first
        builds.setdefault(run["source_hash"], run["name"])
        accuracy = run["metrics"].get("accuracy")
        seconds = f"{run['duration_seconds']:.1f}" if run["duration_seconds"] is not None else "-"
        table.add_row(run["name"], run["state"], seconds, str(accuracy), run["source_hash"], shared, run["id"])
    console.print(table)
    for run in runs:
        if run["state"] != "finished":
            raise Failure(f"{run['name']} {run['state']}: {run['reason']}")
        if not run["metrics"].get("accuracy", 0) > 0.5:
            raise Failure(f"{run['name']} has learnt nothing: {run['metrics']}")
    if len(builds) != 1 or len(made) > 1:
        raise Failure(f"one job was built more than once: {', '.join(str(each) for each in made)}")
    expect(0, slipway("logs", runs[0]["id"], environment=environment, echo=True))
    say(f"Logs and outputs of each run: {folder / 'data' / 'runs'}\nSlipway's own log: {folder / 'up.log'}")
    return 0


def submission(repository: Path) -> tuple[str, ...]:
    return ("submit", "--queue", "digits", "--project", "digits", "--uri", str(repository), "-E", "python train.py")


def slipway(
    *arguments: str, environment: dict[str, str], quiet: bool = False, echo: bool = False
) -> subprocess.CompletedProcess[str]:
    if not quiet:
        show_command([*SLIPWAY, *arguments])
    done = subprocess.run([*SLIPWAY, *arguments], env=environment, capture_output=True, text=True, check=False)
    if echo:
        console.print(done.stdout.rstrip(), style="dim", markup=False)
    return done


def expect(code: int, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != code:
        raise Failure(f"exit code {done.returncode} instead of {code}:\n{done.stderr}{done.stdout}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C would; and for certain."""
    with suppress(ProcessLookupError):
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def say(text: str) -> None:
    console.print(f"\n{text}")


def show_command(command: list[str]) -> None:
    console.print(f"[cyan]$ slipway {shlex.join(command[1:])}[/]", soft_wrap=True)


class Failure(Exception):
    """The example did not go as it must."""


if __name__ == "__main__":
    sys.exit(main())
