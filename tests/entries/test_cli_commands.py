"""Commands as a person or a script meets them: what is printed where, and the exit code. No Slipway is up here: the API
answers in this process, straight on a data folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.entries.command_line import Run, command_line

from slipway.cli import failure
from slipway.cli.client import error_of
from slipway.cli.main import app
from slipway.errors import (
    AlreadyExists,
    Forbidden,
    Invalid,
    NoSlot,
    NotFound,
    Permanent,
    Problem,
    Refused,
    SlipwayError,
    Stale,
    Temporary,
)

QUEUE = {
    "name": "gpu",
    "resource": "local-process",
    "resource_args": {"env": {"LR": "{{lr}}"}},
    "template_variables": {"lr": {"type": "number", "default": 0.1, "minimum": 0, "maximum": 1}},
    "prioritization": True,
}
CODE = ("-u", "https://git.example.com/team/train.git", "-E", "python train.py")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """On an empty data folder of entity `team`."""
    return command_line(tmp_path, monkeypatch, capsys, SLIPWAY_ENTITY="team")


@pytest.fixture
def queue(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(yaml.safe_dump(QUEUE))
    assert run("queue", "apply", str(file)).code == 0


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [(name,)] if inner is None else [(name, each) for each in inner]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself_with_an_example(run: Run, command: tuple[str, ...]) -> None:
    told = run(*command, "--help")
    assert told.code == 0
    assert f"Example: slipway {' '.join(command)}" in " ".join(told.out.split())


def test_help_is_cheap() -> None:
    """`slipway --help` loads no HTTP server, no HTTP client, no git and no database."""
    script = (
        "import sys; from slipway.cli.main import main; main(['--help']);"
        "heavy = {'fastapi', 'uvicorn', 'starlette', 'httpx', 'dulwich', 'sqlite3', 'yaml', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "queue" in ended.stdout
    assert ended.stderr == "[]\n"


def test_an_unknown_option_is_a_usage_error(run: Run) -> None:
    assert run("ps", "--nonsense").code == 2
    assert run("priority", "item", "urgent").code == 2
    assert run("ps", "--watch").code == 2  # no terminal to draw on


@pytest.mark.usefixtures("queue")
def test_a_queue_is_applied_shown_paused_drained_resumed_and_deleted(run: Run, tmp_path: Path) -> None:
    shown = run("queue", "show", "gpu", "-o", "yaml")
    file = tmp_path / "again.yaml"
    file.write_text(shown.out)
    assert run("queue", "apply", str(file)).out == "team/gpu applied\n"
    assert [each["name"] for each in run("queue", "list", "-o", "json").json] == ["gpu"]
    assert run("queue", "pause", "gpu").code == 0
    assert run("queue", "show", "team/gpu", "-o", "json").json["paused"] is True
    assert "It is paused" in run("queue", "apply", str(file)).err
    assert run("queue", "resume", "team/gpu").code == 0
    assert run("queue", "drain", "gpu").out == "gpu drains\n"
    assert "draining" in run("queue", "list").out
    assert "It is drained" in run("queue", "apply", str(file)).err
    refused = run("submit", "-q", "gpu", "-d", "img")
    assert refused.code == failure.REFUSED
    assert "queue: is being drained: it takes no more submissions" in refused.err
    assert run("queue", "resume", "gpu").code == 0
    assert run("queue", "delete", "gpu").code == 0
    assert run("queue", "show", "gpu").code == failure.REFUSED


def test_a_bad_queue_file_is_told_of_problem_by_problem(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text("name: gpu\nresource: local-proces\nmax_job: 3\n")
    refused = run("queue", "apply", str(file))
    assert refused.code == failure.REFUSED
    assert refused.out == ""
    assert sorted(refused.err.splitlines()) == [
        "error: max_job: is not a known field. Did you mean 'max_jobs'?",
        next(line for line in refused.err.splitlines() if line.startswith("error: resource:")),
    ]


@pytest.mark.usefixtures("queue")
def test_a_submission_prints_its_id_and_says_that_nobody_works(run: Run) -> None:
    submitted = run("submit", "-q", "gpu", *CODE, "--name", "試行 1", "--set-var", "lr=0.5", "--", "--epochs", "3")
    assert submitted.code == 0
    assert "nothing is running here" in submitted.err
    item = run("show", submitted.out.strip(), "-o", "json").json
    assert (item["name"], item["entity"], item["project"]) == ("試行 1", "team", "train")
    assert item["submission"]["overrides"] == {"entry_point": ["python", "train.py"], "args": ["--epochs", "3"]}
    assert item["resource_args"]["env"] == {"LR": 0.5}
    assert "試行 1" in run("ps").out
    assert "slipway up" in run("explain", "試行 1").out


@pytest.mark.usefixtures("queue")
def test_the_project_comes_from_the_environment_the_repository_or_is_uncategorized(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def project(*source: str, queue: str = "gpu") -> str:
        return str(run("submit", "-q", queue, *source, "-o", "json").json["project"])

    Path("images.json").write_text(json.dumps({"name": "images", "resource": "local-container"}))
    assert run("queue", "apply", "images.json").code == 0
    assert project(*CODE) == "train"
    assert project("-d", "registry.example.com/image:1", queue="images") == "uncategorized"
    monkeypatch.setenv("SLIPWAY_PROJECT", "digits")
    assert project(*CODE) == "digits"
    assert project(*CODE, "-p", "named") == "named"


@pytest.mark.usefixtures("queue")
def test_a_dry_run_shows_what_would_be_stored_and_stores_nothing(run: Run) -> None:
    plan = run("submit", "-q", "gpu", *CODE, "--set-var", "lr=0.5", "--dry-run", "-o", "json")
    assert plan.code == 0
    assert plan.json["payload"]["body"]["resource_args"]["env"] == {"LR": 0.5}
    assert plan.json["submission"]["template_variables"] == {"lr": 0.5}
    assert run("submit", "-q", "gpu", *CODE, "--set-var", "lr=2", "--dry-run").code == failure.REFUSED
    assert run("ps", "--all", "-o", "json").json == []


@pytest.mark.usefixtures("queue")
def test_a_value_outside_the_limits_is_refused_with_field_value_and_rule(run: Run) -> None:
    """S4."""
    refused = run("submit", "-q", "gpu", *CODE, "--set-var", "lr=2")
    assert refused.code == failure.REFUSED
    assert refused.err == "error: template_variables.lr: must be at most 1 (got 2.0)\n"


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-q", "gpu"), "uri: is missing"),
        (("-q", "gpu", *CODE, "-d", "image"), "uri"),
        (("-q", "cpu", *CODE), "has no such queue (got 'cpu'). Did you mean 'gpu'?"),
        (("-q", "cpu", *CODE, "--set-var", "lr=1"), "has no queue 'cpu'. Did you mean 'gpu'?"),
        (CODE, "queue: is missing"),
        (("-q", "gpu", *CODE, "--set-var", "lr=fast"), "template_variables.lr: must be a number"),
        (("-q", "gpu", *CODE, "--set-var", "rate=1"), "template_variables.rate"),
        (("-q", "gpu", *CODE, "-c", '{"nme": "x"}'), "nme: is not a known field. Did you mean 'name'?"),
        (("-q", "gpu", *CODE, "-c", "none.yaml"), "--config: cannot be read"),
        (("-q", "gpu", *CODE, "-P", "urgent"), "priority"),
        (("-q", "gpu", *CODE, "-E", "python 'train.py"), "--entry-point: cannot be split into words"),
    ],
)
def test_a_bad_submission_is_refused_in_words(run: Run, arguments: tuple[str, ...], words: str) -> None:
    refused = run("submit", *arguments)
    assert (refused.code, refused.out) == (failure.REFUSED, "")
    assert words in refused.err
    assert run("ps", "--all", "-o", "json").json == []


@pytest.mark.usefixtures("queue")
def test_the_same_idempotency_key_gives_the_same_item(run: Run) -> None:
    first, second = (run("submit", "-q", "gpu", *CODE, "--idempotency-key", "once") for _ in range(2))
    assert first.out == second.out
    assert "submitted before" in second.err


@pytest.mark.usefixtures("queue")
def test_an_item_is_found_by_id_part_of_it_or_name(run: Run) -> None:
    first = run("submit", "-q", "gpu", *CODE, "--name", "twin").out.strip()
    assert run("show", "twin", "-o", "json").json["id"] == first
    run("submit", "-q", "gpu", *CODE, "--name", "twin")
    assert run("show", first[-6:], "-o", "json").json["id"] == first
    ambiguous = run("show", "twin")
    assert ambiguous.code == failure.REFUSED
    assert first in ambiguous.err
    assert run("show", first[:4]).code == failure.REFUSED
    assert "no item has an id or a name like 'other'" in run("show", "other").err


def test_where_nothing_was_cancelled_there_is_no_table(run: Run) -> None:
    cancelled = run("cancel", "nobody")
    assert (cancelled.code, cancelled.out) == (failure.REFUSED, "")


@pytest.mark.usefixtures("queue")
def test_several_items_are_cancelled_and_the_one_that_is_not_there_is_told_of(run: Run) -> None:
    ids = [run("submit", "-q", "gpu", *CODE).out.strip() for _ in range(2)]
    cancelled = run("cancel", *ids, "nobody", "-o", "json")
    assert cancelled.code == failure.REFUSED
    assert [item["state"] for item in cancelled.json] == ["stopped", "stopped"]
    assert json.loads(cancelled.err)["error"]["kind"] == "not_found"
    assert run("ps").out.splitlines() == run("ps").out.splitlines()[:1]
    assert [item["id"] for item in run("ps", "--state", "stopped", "-o", "json").json] == ids[::-1]


@pytest.mark.usefixtures("queue")
def test_what_is_over_is_tried_again_and_what_is_not_is_not(run: Run) -> None:
    first = run("submit", "-q", "gpu", *CODE).out.strip()
    refused = run("retry", first)
    assert (refused.code, "only an item that is over" in refused.err) == (failure.REFUSED, True)
    run("cancel", first)
    second = run("retry", first, "-o", "json").json
    assert (second["retry_of"], second["state"]) == (first, "pending")


@pytest.mark.usefixtures("queue")
def test_a_priority_is_changed_by_number_or_word(run: Run) -> None:
    item = run("submit", "-q", "gpu", *CODE).out.strip()
    assert run("priority", item, "critical").out == f"{item} has priority 0\n"
    assert run("priority", item, "9").code == failure.REFUSED


@pytest.mark.usefixtures("queue")
def test_a_run_without_a_log_yet_says_so(run: Run) -> None:
    item = run("submit", "-q", "gpu", *CODE).out.strip()
    told = run("logs", item)
    assert (told.code, "has no log yet" in told.err) == (failure.REFUSED, True)


def test_a_key_is_shown_once_and_revoked(run: Run) -> None:
    made = run("key", "create", "ci", "--entity", "team").out.strip()
    listed = run("key", "list", "-o", "json").json
    assert [(key["name"], key["entity"]) for key in listed] == [("ci", "team")]
    assert made not in run("key", "list").out
    assert run("key", "revoke", listed[0]["id"]).code == 0
    assert run("key", "list", "-o", "json").json == []
    assert run("key", "revoke", listed[0]["id"]).code == failure.REFUSED


@pytest.mark.parametrize("name", ["", "a/b", 7, None])
def test_a_queue_that_cannot_be_addressed_is_refused(run: Run, tmp_path: Path, name: object) -> None:
    file = tmp_path / "queue.json"
    file.write_text(json.dumps({**QUEUE, "name": name}))
    refused = run("queue", "apply", str(file))
    assert (refused.code, "error: name: must be text" in refused.err) == (failure.REFUSED, True)


def test_unicode_comes_out_as_it_went_in(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "キュー.json"
    file.write_text(json.dumps({**QUEUE, "name": "대기열", "entity": "équipe"}))
    assert run("queue", "apply", str(file)).out == "équipe/대기열 created\n"
    assert run("queue", "show", "équipe/대기열", "-o", "json").json["name"] == "대기열"


def test_names_are_not_read_as_markup(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "queue.json"
    file.write_text(json.dumps({**QUEUE, "name": "[red]gpu :rocket:"}))
    run("queue", "apply", str(file))
    assert "[red]gpu :rocket:" in run("queue", "list").out


def test_an_endpoint_that_is_not_there_is_a_backend_error(run: Run) -> None:
    refused = run("ps", "--endpoint", "http://127.0.0.1:1", "-o", "json")
    assert refused.code == failure.BACKEND
    assert "cannot reach http://127.0.0.1:1" in json.loads(refused.err)["error"]["message"]


@pytest.mark.parametrize("endpoint", ["localhost:8765", "ftp://host", "http://", "//", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_refused(run: Run, endpoint: str) -> None:
    refused = run("ps", "--endpoint", endpoint)
    assert (refused.code, "--endpoint: is no http or https URL" in refused.err) == (failure.REFUSED, True)


def test_a_database_that_is_none_is_a_backend_error_with_its_cure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "slipway.db").write_bytes(b"This is no database at all. " * 100)
    for command in (("ps",), ("up", "--port", "0")):
        broken = run(*command)
        assert broken.code == failure.BACKEND
        assert "restore the file from a backup" in broken.err
        assert len(broken.err.splitlines()) == 1


def test_a_mistake_in_slipway_is_one_line_unless_its_traceback_is_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Foreseen(Exception):
        pass

    def broken(*_: object, **__: object) -> None:
        raise Foreseen("oh no")

    monkeypatch.setattr("slipway.cli.client.connect", broken)
    told = run("ps")
    assert told.code == failure.BACKEND
    assert told.err.startswith("error: this should not have happened: Foreseen: oh no.")
    monkeypatch.setenv("SLIPWAY_DEBUG", "1")
    with pytest.raises(Foreseen):
        run("ps")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    environment = {"SLIPWAY_HOME": str(tmp_path), "PATH": ""}
    script = "import slipway.cli.main; slipway.cli.main.run()"
    command = [sys.executable, "-c", script, "version", "-o", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (Invalid(Problem("queue", "is missing")), 3, "invalid"),
        (Forbidden(), 3, "forbidden"),
        (NotFound(), 3, "not_found"),
        (AlreadyExists(), 3, "conflict"),
        (Stale(), 3, "conflict"),
        (NoSlot(), 3, "conflict"),
        (Temporary(), 5, "backend"),
        (Refused(), 5, "backend"),
        (Permanent("the database is damaged"), 5, "backend"),
        (SlipwayError(), 5, "backend"),
    ],
)
def test_the_exit_code_says_whose_turn_it_is(error: SlipwayError, code: int, kind: str) -> None:
    assert failure.exit_code(error) == code
    assert failure.document(error)["error"]["kind"] == kind


@given(
    st.integers(400, 599), st.binary(max_size=60) | st.sampled_from([b'{"error": 1}', b'{"error": {"kind": 1}}', b"[]"])
)
def test_any_answer_of_any_server_becomes_an_error(status: int, body: bytes) -> None:
    import httpx

    request = httpx.Request("GET", "http://127.0.0.1/v1/items")
    error = error_of(httpx.Response(status, content=body, request=request))
    assert str(status) in error.message
    assert isinstance(error, Temporary) is (status >= 500)
