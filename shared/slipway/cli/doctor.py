"""What may be wrong with a Slipway, each finding with its cure. `slipway doctor` prints it."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from slipway import wire
from slipway.cli import instance
from slipway.cli.finding import SHOWN, Finding, Verdict, some
from slipway.cli.promises import promises
from slipway.errors import Invalid, SlipwayError
from slipway.model import Queue, State
from slipway.ports import Ports
from slipway.wire_kubernetes import OneCluster

LITTLE_DISK = 2 << 30
NO_DISK = 100 << 20
PATIENCE = 10.0
"""Seconds for a command or a request that a check makes."""


def examine(home: Path) -> list[Finding]:
    """Every check of a data folder. A check that cannot be made is a finding, never an exception."""
    findings = [_folder(home)]
    if findings[0].verdict is Verdict.BROKEN:
        return findings
    findings += [_disk(home), _database(home)]
    if findings[-1].verdict is not Verdict.BROKEN:
        try:
            settings = wire.Settings(home)
        except Invalid as error:
            findings.append(Finding("settings", Verdict.BROKEN, error.message))
        else:
            findings += _kept(home, settings)
    return [*findings, _running(home), _wake_ups(home), _secrets(home), *_programs()]


def examine_endpoint(endpoint: str) -> list[Finding]:
    """What can be asked of a Slipway elsewhere: whether it answers, is ready, and takes our key.

    Raises Invalid for what is no URL.
    """
    from slipway.cli.client import connect

    client = connect(endpoint, None)
    findings: list[Finding] = []
    for check, path in (("HTTP API", "/healthz"), ("ready", "/ready"), ("key", "/v1/status")):
        try:
            client.get(path)
        except SlipwayError as error:
            return [*findings, Finding(check, Verdict.BROKEN, error.message)]
        findings.append(Finding(check, Verdict.OK, endpoint))
    return findings


def broken(findings: list[Finding]) -> bool:
    return any(finding.verdict is Verdict.BROKEN for finding in findings)


def _folder(home: Path) -> Finding:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=home, prefix=".doctor-"):
            pass
    except OSError as error:
        cure = f"Let this user write to {home}, or choose another folder with --data or SLIPWAY_HOME."
        return Finding("data folder", Verdict.BROKEN, f"{home}: {error.strerror}", cure)
    if home.stat().st_mode & 0o077:
        cure = f"chmod 700 {home}"
        return Finding("data folder", Verdict.WARNING, f"{home} can be read by other users of this machine", cure)
    return Finding("data folder", Verdict.OK, str(home))


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free >= LITTLE_DISK:
        return Finding("disk", Verdict.OK, text)
    verdict = Verdict.BROKEN if free < NO_DISK else Verdict.WARNING
    cure = f"Make room on the disk of {home}: runs/ and environments/ of what is over may go."
    return Finding("disk", verdict, text, cure)


def _database(home: Path) -> Finding:
    """SQLite's own check, https://www.sqlite.org/pragma.html#pragma_quick_check. It reads the whole file."""
    path = home / "slipway.db"
    if not path.exists():
        return Finding("database", Verdict.OK, "none yet; the first command makes it")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        answer, version = str(error), 0
    if answer != "ok":
        cure = "Stop Slipway, and restore the file from a backup; or move it, its -wal and -shm away, to start empty."
        return Finding("database", Verdict.BROKEN, f"{path}: {answer}", cure)
    size = path.stat().st_size / (1 << 20)
    return Finding("database", Verdict.OK, f"whole, schema {version}, {size:.1f} MiB")


def _kept(home: Path, settings: wire.Settings) -> list[Finding]:
    try:
        return list(_contents(home, wire.local(settings)))
    except SlipwayError as error:
        return [Finding("database", Verdict.BROKEN, error.message)]


def _contents(home: Path, ports: Ports) -> Iterator[Finding]:
    yield _engine(ports)
    yield from _clusters(ports)
    yield from promises(ports)
    yield _workers(home, ports)
    letters = ports.bus.dead_letters(SHOWN)
    if letters:
        text = "; ".join(f"{letter.id} ({letter.topic} {letter.body[:16]}): {letter.reason}" for letter in letters)
        cure = "Mend the reason, then `slipway dlq redrive ID`; `slipway dlq drop ID` forgets one."
        yield Finding("dead letters", Verdict.WARNING, text, cure)
    else:
        yield Finding("dead letters", Verdict.OK, "none")


def _engine(ports: Ports) -> Finding:
    """Broken where a queue needs it, else merely good to know."""
    users = [str(queue.key) for queue in ports.store.queues() if queue.resource == "local-container"]
    needed = f"; needed by queue {some(users)}" if users else "; no queue needs it"
    bad = Verdict.BROKEN if users else Verdict.WARNING
    if shutil.which("docker") is None:
        return Finding("docker", bad, f"no docker command{needed}", "Install Docker, or use local-process queues.")
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("docker", bad, f"does not answer{needed}: {error}", "Restart the Docker engine.")
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or ["no words"])[-1]
        cure = "Start Docker (`systemctl start docker`), or let this user use it (group `docker`)."
        return Finding("docker", bad, f"no engine answers{needed}: {said}", cure)
    return Finding("docker", Verdict.OK, f"engine {answer.stdout.strip()}")


def _clusters(ports: Ports) -> Iterator[Finding]:
    """Of the cluster, where a queue needs one: whether it answers, and allows what runs take in each namespace."""
    queues = [queue for queue in ports.store.queues() if queue.resource == "kubernetes"]
    if not queues:
        return
    try:
        cluster = wire.cluster()
        yield Finding("kubernetes", Verdict.OK, cluster.version())
    except SlipwayError as error:
        users = some([str(queue.key) for queue in queues])
        yield Finding("kubernetes", Verdict.BROKEN, f"{error.message}; needed by queue {users}")
        return
    namespaces: dict[str, list[Queue]] = {}
    for queue in queues:
        given = (queue.config.get("metadata") or {}).get("namespace") or queue.config.get("namespace")
        namespaces.setdefault(str(given or ports.around.cluster.namespace), []).append(queue)
    for namespace, its in namespaces.items():
        yield _allowed(cluster, namespace, its)


def _allowed(cluster: OneCluster, namespace: str, queues: list[Queue]) -> Finding:
    check, users = f"namespace {namespace}", some([str(queue.key) for queue in queues])
    kinds = {
        (str(queue.config.get("apiVersion") or "batch/v1"), str(queue.config.get("kind") or "Job")) for queue in queues
    }
    try:
        missing = cluster.missing_rights(namespace, sorted(kinds))
    except SlipwayError as error:
        return Finding(check, Verdict.BROKEN, f"{error.message}; needed by queue {users}")
    if missing:
        cure = f"Add to a Role there: {'; '.join(missing)}"
        return Finding(check, Verdict.BROKEN, f"not all is allowed that queue {users} needs", cure)
    return Finding(check, Verdict.OK, "all is allowed that runs need")


def _workers(home: Path, ports: Ports) -> Finding:
    threads = sum(each.workers for each in instance.alive(home))
    if threads:
        return Finding("workers", Verdict.OK, f"{threads} threads in {len(instance.alive(home))} process(es)")
    live = (State.PENDING, State.BUILDING, State.STARTING, State.RUNNING)
    if ports.store.items(states=live, limit=1):
        return Finding("workers", Verdict.BROKEN, "none, and items are waiting", "Start `slipway up`.")
    return Finding("workers", Verdict.WARNING, "none; nothing waits for them", "`slipway up` starts them.")


def _running(home: Path) -> Finding:
    up = instance.serving(home)
    if up is None or up.url is None:
        return Finding("HTTP API", Verdict.WARNING, "not up", "`slipway up` starts it; commands work without it.")
    import httpx

    try:
        answer = httpx.get(f"{up.url}/ready", timeout=PATIENCE, trust_env=False)
    except httpx.HTTPError as error:
        cure = f"Look at the log of pid {up.pid}, and start it again."
        return Finding("HTTP API", Verdict.BROKEN, f"{up.url} does not answer: {error}", cure)
    if answer.status_code != 200:
        return Finding("HTTP API", Verdict.BROKEN, f"{up.url} is not ready: {answer.text}", "Look at its log.")
    return Finding("HTTP API", Verdict.OK, f"{up.url} (pid {up.pid})")


def _wake_ups(home: Path) -> Finding:
    """Workers of several processes wake one another through Unix sockets, which not every file system has."""
    folder = home / "wake"
    name = f".doctor-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                # In short: a socket's address has room for 107 bytes, https://man7.org/linux/man-pages/man7/unix.7.html
                probe.bind(f"/proc/self/fd/{descriptor}/{name}")
        finally:
            (folder / name).unlink(missing_ok=True)
            os.close(descriptor)
    except OSError as error:
        cure = "Put the data folder on a local disk."
        return Finding("wake-ups", Verdict.BROKEN, f"{folder} cannot hold sockets: {error.strerror or error}", cure)
    return Finding("wake-ups", Verdict.OK, "processes can wake one another")


def _secrets(home: Path) -> Finding:
    folder = home / "secrets"
    files = sorted(each for each in folder.glob("*") if each.is_file()) if folder.is_dir() else []
    open_ones = [each for each in files if each.stat().st_mode & 0o077]
    if open_ones:
        text = f"others may read {', '.join(each.name for each in open_ones)}: they are refused to runs"
        cure = "chmod 600 " + " ".join(str(each) for each in open_ones)
        return Finding("secrets", Verdict.BROKEN, text, cure)
    return Finding("secrets", Verdict.OK, f"{len(files)} kept in {folder}" if files else "none kept here")


def _programs() -> Iterator[Finding]:
    """Git needs none: Slipway brings its own client."""
    if shutil.which("uv") or Path(sys.executable).with_name("uv").exists():
        yield Finding("uv", Verdict.OK, "makes the environments of local processes")
    else:
        text = "not found; environments are made with venv and pip, which is slower"
        yield Finding("uv", Verdict.WARNING, text, "pip install uv")
    if shutil.which("ssh"):
        yield Finding("ssh", Verdict.OK, "for git over ssh")
    else:
        yield Finding("ssh", Verdict.WARNING, "not found; sources over https only", "Install the OpenSSH client.")
