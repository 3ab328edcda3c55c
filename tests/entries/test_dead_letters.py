"""Dead letters over HTTP and with `slipway dlq`: listed with their reason, shown, delivered again and forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.entries.http_api import Api, error_of

from slipway import wire
from slipway.cli.main import main
from slipway.model import Topic
from slipway.ports import Bus
from slipway.web.schemas import Envelope, LetterList

SPEC = {
    "queue": "gone",
    "project": "p",
    "entity": "team",
    "overrides": {"run_config": {"api_key": "s3cret", "lr": 0.1}},
}


def bury(bus: Bus, topic: Topic, body: str, reason: str) -> str:
    bus.send(topic, body)
    (message,) = bus.receive([topic])
    bus.bury(message, reason)
    return bus.dead_letters(1)[0].id


def test_dead_letters_are_listed_latest_first_up_to_a_limit() -> None:
    api = Api()
    ids = [bury(api.world.bus, Topic.ADVANCE, f"01{n}", f"reason {n}") for n in range(3)]
    told = api.ask("GET", "/v1/dead-letters?limit=2").json()
    LetterList.model_validate(told)
    assert [(each["id"], each["item"], each["reason"]) for each in told["dead_letters"]] == [
        (ids[2], "012", "reason 2"),
        (ids[1], "011", "reason 1"),
    ]


def test_a_dead_letter_is_shown_with_its_message_and_without_its_secrets() -> None:
    api = Api()
    letter = bury(api.world.bus, Topic.SUBMIT, json.dumps(SPEC), "no such queue")
    answer = api.ask("GET", f"/v1/dead-letters/{letter}")
    Envelope.model_validate(answer.json())
    assert (answer.json()["reason"], answer.json()["message"]["queue"]) == ("no such queue", "gone")
    assert answer.json()["message"]["overrides"]["run_config"]["lr"] == 0.1
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("body", ["not JSON", "[NaN", "[NaN]", "\ud800", "", "x" * 100_000])
def test_what_makes_no_sense_can_be_looked_at(body: str) -> None:
    api = Api()
    letter = bury(api.world.bus, Topic.SUBMIT, body, "not JSON")
    answer = api.ask("GET", f"/v1/dead-letters/{letter}")
    assert answer.status_code == 200
    assert len(answer.text) < 2000


def test_a_redriven_letter_is_delivered_again_and_a_dropped_one_never() -> None:
    api = Api()
    again, never = [bury(api.world.bus, Topic.ADVANCE, body, "broken") for body in ("again", "never")]
    assert api.ask("POST", f"/v1/dead-letters/{again}/redrive").status_code == 204
    assert api.ask("DELETE", f"/v1/dead-letters/{never}").status_code == 204
    assert [message.body for message in api.world.bus.receive([Topic.ADVANCE], limit=5)] == ["again"]
    assert api.ask("GET", "/v1/dead-letters").json() == {"dead_letters": []}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/1"), ("POST", "/1/redrive"), ("DELETE", "/1")], ids=lambda each: each
)
def test_a_key_of_one_entity_gets_at_no_dead_letter(method: str, path: str) -> None:
    api = Api()
    bury(api.world.bus, Topic.ADVANCE, "01a", "broken")
    answer = api.ask(method, f"/v1/dead-letters{path}", key=api.new_key("team"))
    assert (answer.status_code, error_of(answer)["kind"]) == (403, "forbidden")
    assert len(api.world.bus.dead_letters()) == 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/9"), ("POST", "/9/redrive"), ("DELETE", "/9")])
def test_a_letter_that_is_not_there_is_not_found(method: str, path: str) -> None:
    answer = Api().ask(method, f"/v1/dead-letters{path}")
    assert (answer.status_code, error_of(answer)["kind"]) == (404, "not_found")


def test_the_command_line_lists_shows_delivers_again_and_forgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bus = wire.local(wire.Settings(tmp_path)).bus
    at = ("--data", str(tmp_path))
    assert main(["dlq", "list", *at]) == 0
    assert "no dead letter" in capsys.readouterr().err
    first, second = bury(bus, Topic.SUBMIT, json.dumps(SPEC), "no queue"), bury(bus, Topic.BUILD, "01a", "no disk")
    assert main(["dlq", "list", *at]) == 0
    listed = capsys.readouterr().out
    assert "no queue" in listed
    assert "01a" in listed
    assert main(["dlq", "show", first, *at]) == 0
    shown = capsys.readouterr().out
    assert "gone" in shown
    assert "s3cret" not in shown
    assert main(["dlq", "redrive", first, *at]) == 0
    assert [message.body for message in bus.receive([Topic.SUBMIT])] == [json.dumps(SPEC)]
    assert main(["dlq", "drop", second, *at]) == 0
    assert list(bus.dead_letters()) == []
    assert main(["dlq", "drop", "none", *at]) == 3
    assert "none" in capsys.readouterr().err
