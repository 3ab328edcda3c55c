"""`slipway doctor`: each thing that may be wrong is found, with its cure, and nothing else is called broken."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway import wire
from slipway.cli.doctor import examine
from slipway.cli.finding import Finding, Verdict
from slipway.cli.main import main
from slipway.functions.submit import submit
from slipway.model import Queue, Topic

Examine = Callable[[], dict[str, Finding]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
def found(home: Path) -> Examine:
    return lambda: {finding.check: finding for finding in examine(home)}


def test_an_empty_data_folder_has_nothing_broken(found: Examine) -> None:
    findings = found()
    assert Verdict.BROKEN not in {finding.verdict for finding in findings.values()}
    assert findings["workers"].verdict is Verdict.WARNING
    assert "slipway up" in findings["HTTP API"].cure


def test_every_finding_that_is_not_ok_has_a_cure(home: Path, found: Examine) -> None:
    home.chmod(0o755)
    for finding in found().values():
        assert (finding.cure != "") is (finding.verdict is not Verdict.OK), finding


def test_a_data_folder_that_cannot_be_one_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (finding,) = examine(file)
    assert (finding.verdict, finding.check) == (Verdict.BROKEN, "data folder")
    assert "--data" in finding.cure


def test_a_data_folder_that_others_read_is_a_warning(home: Path, found: Examine) -> None:
    home.chmod(0o755)
    assert found()["data folder"].verdict is Verdict.WARNING


@pytest.mark.parametrize("damage", ["not a database", "overwritten"])
def test_a_damaged_database_is_broken(home: Path, found: Examine, damage: str) -> None:
    path = home / "slipway.db"
    if damage == "not a database":
        path.write_bytes(b"This is no database at all. " * 500)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (x)")
            connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 200)
        connection.close()
        content = bytearray(path.read_bytes())
        content[5000:30000] = b"\xff" * 25000
        path.write_bytes(content)
    finding = found()["database"]
    assert finding.verdict is Verdict.BROKEN
    assert "restore" in finding.cure


def test_a_database_of_a_newer_slipway_is_broken(home: Path, found: Examine) -> None:
    with sqlite3.connect(home / "slipway.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    assert any("newer" in finding.text for finding in examine(home) if finding.verdict is Verdict.BROKEN)


def test_items_that_nobody_works_on_are_broken(home: Path, found: Examine) -> None:
    ports = wire.local(wire.Settings(home))
    ports.store.save_queue(Queue("team", "gpu", "local-process"))
    spec = {"entity": "team", "project": "p", "queue": "gpu", "uri": "https://git.example.com/a.git"}
    item = submit({**spec, "overrides": {"entry_point": ["python", "train.py"]}}, ports)
    assert found()["workers"].verdict is Verdict.BROKEN
    assert found()["items"].verdict is Verdict.OK
    ports.store.save(item.but(due=time.time() - 600))
    late = found()["items"]
    assert (late.verdict, item.id in late.text) == (Verdict.BROKEN, True)


def test_a_dead_letter_is_a_warning_with_its_reason(home: Path, found: Examine) -> None:
    bus = wire.local(wire.Settings(home)).bus
    bus.send(Topic.SUBMIT, "{}")
    bus.bury(bus.receive([Topic.SUBMIT])[0], "no queue")
    (letter,) = bus.dead_letters()
    assert "no queue" in found()["dead letters"].text
    assert letter.id in found()["dead letters"].text
    assert "slipway dlq redrive" in found()["dead letters"].cure


def test_a_secret_that_others_may_read_is_broken(home: Path, found: Examine) -> None:
    (home / "secrets").mkdir(mode=0o700)
    secret = home / "secrets" / "WANDB_API_KEY"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    assert found()["secrets"].verdict is Verdict.OK
    secret.chmod(0o644)
    finding = found()["secrets"]
    assert (finding.verdict, finding.cure) == (Verdict.BROKEN, f"chmod 600 {secret}")
    assert "s3cret" not in str(found())


def test_without_docker_only_queues_that_need_it_are_broken(
    home: Path, found: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8."""
    monkeypatch.setenv("PATH", "")
    assert found()["docker"].verdict is Verdict.WARNING
    wire.local(wire.Settings(home)).store.save_queue(Queue("team", "gpu", "local-container"))
    finding = found()["docker"]
    assert (finding.verdict, "team/gpu" in finding.text) == (Verdict.BROKEN, True)


def test_what_is_broken_is_the_exit_code(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--data", str(tmp_path / "healthy"), "-o", "json"]) == 0
    (home / "slipway.db").write_bytes(b"This is no database at all. " * 500)
    capsys.readouterr()
    assert main(["doctor", "--data", str(home), "-o", "json"]) == 5
    assert {each["verdict"] for each in json.loads(capsys.readouterr().out)} >= {"ok", "broken"}


def test_an_endpoint_that_is_not_there_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--endpoint", "http://127.0.0.1:1"]) == 5
    assert "cannot reach" in capsys.readouterr().out
