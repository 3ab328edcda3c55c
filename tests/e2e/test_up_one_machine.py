"""From a git repository to a finished run, in real processes, as a new user would try it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.e2e.one_machine import SLIPWAY, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        machine.stop()


def test_a_repository_becomes_a_finished_run(machine: Machine) -> None:
    """S20, and what a person sees of it: submit, ps, explain, logs, show, retry."""
    machine.prepare()
    machine.up()
    eventually(lambda: "no key is asked for" in machine.said(stream="out"))
    go = machine.root / "go"
    item = machine.submit(go, 0, "--name", "初回")
    eventually(lambda: machine.started == [item], within=30)
    assert "初回" in machine.run("ps").stdout
    assert "run" in machine.run("explain", "初回").stdout
    with subprocess.Popen(
        [*SLIPWAY, "logs", "-f", item], stdout=subprocess.PIPE, text=True, env=machine.environment
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == f"started {go} 0\n"
        go.touch()
        assert following.stdout.read() == "ended 終\n"
    assert following.returncode == 0
    shown = machine.json("show", item)
    assert (shown["state"], shown["metrics"], shown["exit_code"]) == ("finished", {"accuracy": 0.97}, 0)
    assert f"{item} starting → running" in machine.said()
    waited = machine.run(
        "submit", "-q", "cpu", "-u", str(machine.root / "train"), "-E", "python train.py", "--wait", "--", "-", "0"
    )
    assert "accuracy = 0.97" in waited.stdout
    second = machine.json("show", waited.stdout.split()[0])
    assert second["image"] == shown["image"]
    again = machine.run("retry", item).stdout.strip()
    eventually(lambda: machine.state(again) == "finished", within=30)


def test_a_failed_run_is_waited_for_and_a_running_one_cancelled(machine: Machine) -> None:
    machine.prepare()
    machine.up("--log-format", "json")
    job = ("-q", "cpu", "-u", str(machine.root / "train"), "-E", "python train.py")
    failed = machine.run("submit", *job, "--wait", "-o", "json", "--", "-", "3", code=4)
    assert json.loads(failed.stdout)["reason"].startswith("exit code 3")
    assert "failed" in failed.stderr
    running = machine.submit(machine.root / "never")
    eventually(lambda: running in machine.started, within=30)
    machine.run("cancel", running)
    eventually(lambda: machine.state(running) == "stopped", within=30)
    lines = [json.loads(line) for line in machine.said().splitlines()]
    assert {line["state"] for line in lines if line.get("item") == running} >= {"running", "stopped"}


def test_ctrl_c_while_waiting_leaves_the_run_and_says_how_to_end_it(machine: Machine) -> None:
    machine.prepare()
    machine.up()
    never = machine.root / "never"
    job = ("-q", "cpu", "-u", str(machine.root / "train"), "-E", "python train.py", "--", str(never), "0")
    with subprocess.Popen(
        [*SLIPWAY, "submit", "--wait", *job], stderr=subprocess.PIPE, text=True, env=machine.environment
    ) as waiting:
        eventually(lambda: machine.started, within=30)
        waiting.send_signal(signal.SIGINT)
        assert waiting.stderr is not None
        said = waiting.stderr.read()
    (item,) = machine.started
    assert waiting.returncode == 130
    assert f"slipway cancel {item}" in said
    assert machine.state(item) == "running"
    machine.run("cancel", item)
    eventually(lambda: machine.state(item) == "stopped", within=30)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_running_job_is_adopted_by_the_next_up_not_repeated(machine: Machine, how: signal.Signals) -> None:
    """Kill -9 and an orderly end leave the job running; the next `slipway up` follows it to its end."""
    machine.prepare()
    first = machine.up()
    goes_on, ends = machine.root / "goes-on", machine.root / "ends"
    adopted, ended = machine.submit(goes_on), machine.submit(ends, 3)
    eventually(lambda: sorted(machine.started) == sorted([adopted, ended]), within=30)
    eventually(lambda: {machine.state(adopted), machine.state(ended)} == {"running"}, within=30)
    first.send_signal(how)
    first.wait(30)
    if how is signal.SIGTERM:
        assert first.returncode == 0
        assert "2 runs go on running" in machine.said()
        assert not (machine.home / "up.json").exists()
    ends.touch()
    third = machine.submit(None)
    machine.up()
    eventually(lambda: machine.state(ended) == "failed", within=30)
    assert machine.state(adopted) == "running"
    goes_on.touch()
    for item in (adopted, third):
        eventually(lambda item=item: machine.state(item) == "finished", within=30)
    assert sorted(machine.started) == sorted([adopted, ended, third])


def test_a_second_up_is_refused_and_more_workers_are_welcome(machine: Machine) -> None:
    machine.prepare()
    first = machine.up()
    refused = machine.run("up", "--port", "0", code=3)
    assert str(first.pid) in refused.stderr
    assert "--no-http" in refused.stderr
    machine.up("--no-http")
    first.send_signal(signal.SIGTERM)
    first.wait(30)
    item = machine.submit(None)
    eventually(lambda: machine.state(item) == "finished", within=30)
    assert {finding["verdict"] for finding in machine.json("doctor") if finding["check"] == "workers"} == {"ok"}


def test_a_port_in_use_is_named_with_who_holds_it(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = machine.run("up", "--port", str(port), code=5)
    assert f"port {port} on 127.0.0.1 is in use by" in refused.stderr
    assert f"pid {os.getpid()}" in refused.stderr
    assert "--port" in refused.stderr


def test_other_machines_are_served_with_a_key_only(machine: Machine) -> None:
    assert "slipway key create" in machine.run("up", "--host", "0.0.0.0", "--port", "0", code=3).stderr
    assert "--keyless" in machine.run("up", "--host", "0.0.0.0", "--keyless", "--port", "0", code=3).stderr
    key = machine.run("key", "create", "ci").stdout.strip()
    machine.up("--require-key")
    url = json.loads((machine.home / "up.json").read_text())["url"]
    refused = machine.run("ps", "--endpoint", url, code=3)
    assert "SLIPWAY_API_KEY" in refused.stderr
    request = urllib.request.Request(f"{url}/v1/items", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer) == {"items": [], "next": None}
    assert machine.json("ps") == []  # who owns the data folder needs no key


def test_a_locked_database_is_temporary_and_says_so(machine: Machine) -> None:
    machine.prepare()
    with sqlite3.connect(machine.home / "slipway.db", isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        refused = machine.run("queue", "pause", "cpu", code=5)
        connection.execute("ROLLBACK")
    connection.close()
    assert "locked" in refused.stderr
    assert len(refused.stderr.splitlines()) <= 2
    machine.run("queue", "pause", "cpu")
