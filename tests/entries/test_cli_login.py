"""`slipway login` against a server on loopback: what is kept, who may read it, and whom a command then speaks to."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.entries.command_line import Run, command_line
from tests.entries.http_api import Api

from slipway.cli.login import Kept, Login
from slipway.cli.server import Server, listen, url_of
from slipway.errors import Permanent


@pytest.fixture
def api() -> Api:
    api = Api()
    api.put_queue()
    return api


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with listen("127.0.0.1", 0) as listening:
        server = Server(api.app, listening)
        server.start()
        yield url_of(listening)
        server.stop()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    run = command_line(tmp_path, monkeypatch, capsys)
    monkeypatch.delenv("SLIPWAY_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return run


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{api.key}\n"))


@pytest.mark.usefixtures("typed")
def test_after_a_login_commands_speak_to_that_slipway(run: Run, url: str) -> None:
    done = run("login", url)
    assert (done.code, done.out) == (0, f"Logged in to {url}: it has 1 queue for this key.\n")
    listed = run("queue", "list", "-o", "json")
    assert [queue["name"] for queue in listed.json] == ["gpu"]


@pytest.mark.usefixtures("typed")
def test_the_key_is_printed_nowhere_and_its_file_is_its_owners_alone(run: Run, url: str, api: Api) -> None:
    done = run("login", url + "/", "-o", "json")
    assert done.json == {"endpoint": url, "queues": 1}
    kept = Kept.of_this_user().path
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {"endpoint": url, "key": api.key}
    assert str(api.key) not in done.out + done.err


@pytest.mark.usefixtures("typed")
def test_after_a_logout_commands_speak_to_this_machine_again(run: Run, url: str) -> None:
    run("login", url)
    assert run("logout").code == 0
    assert run("queue", "list", "-o", "json").json == []
    assert "no login" in run("logout").out


@pytest.mark.usefixtures("typed")
def test_a_named_data_folder_goes_over_the_login(run: Run, url: str, tmp_path: Path) -> None:
    run("login", url)
    assert run("queue", "list", "-o", "json", "--data", str(tmp_path / "other")).json == []


@pytest.mark.usefixtures("typed")
def test_the_endpoint_of_the_login_needs_no_key_said_again(run: Run, url: str) -> None:
    run("login", url)
    assert run("queue", "list", "-o", "json", "--endpoint", url).code == 0


def test_a_wrong_key_is_refused_and_not_kept(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("slip_wrong\n"))
    done = run("login", url)
    assert done.code == 3
    assert "not known" in done.err
    assert Kept.of_this_user().read() is None


def test_an_empty_key_says_who_makes_one(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "slipway key create" in run("login", url).err


def test_a_key_does_not_go_over_plain_http_to_elsewhere(run: Run) -> None:
    done = run("login", "http://slipway.example.com")
    assert done.code == 3
    assert "https" in done.err


def test_a_file_that_cannot_be_read_is_told_with_its_cure(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "login.json")
    kept.write(Login("https://x", "k"))
    assert kept.read() == Login("https://x", "k")
    kept.path.write_text("{")
    with pytest.raises(Permanent, match=r"login\.json cannot be read; `slipway login URL`"):
        kept.read()
