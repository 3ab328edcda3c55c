"""`make sam-local`: what it makes of a function's answer, and that no event and no function is left out.

It runs in CI itself; what is held here is what it could be wrong about without anybody noticing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.house.sam_template import Deployed
from tests.standins.aws.sample_events import SAMPLES, brief
from tools.sam_local import EVENTS, SOURCES, Invoked, answer_of, judged, main, without_aws

ROOT = Path(__file__).parents[2]
LOG = '{"level":"INFO","message":"pending → starting"}\n'


def event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def test_every_event_is_expected_to_become_something() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(SAMPLES)


def test_every_function_is_invoked() -> None:
    assert {sample.function for sample in SAMPLES.values()} == set(Deployed().functions())


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("sqs-")])
def test_messages_are_given_to_the_function_that_the_template_gives_them_to(name: str) -> None:
    function = Deployed().functions()[SAMPLES[name].function]
    triggers = [each["Properties"] for each in function["Events"].values() if each["Type"] == "SQS"]
    consumed = {json.dumps(each["Queue"]).lower() for each in triggers}
    records = event(name)["Records"]
    queues = {record["eventSourceARN"].rpartition("slipway-")[2] for record in records}
    assert all(any(f'"{queue}queue.arn"' in known for known in consumed) for queue in queues)
    assert len(records) <= max(each["BatchSize"] for each in triggers)


@pytest.mark.parametrize(
    ("printed", "answer"),
    [
        ("null", None),
        (f'{LOG}{{"batchItemFailures": []}}', {"batchItemFailures": []}),
        ('\n\n{"statusCode": 201, "body": "{}"}\n', {"statusCode": 201, "body": "{}"}),
    ],
)
def test_the_answer_is_the_last_line_that_was_printed(printed: str, answer: Any) -> None:
    assert answer_of(printed) == answer


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ('{"errorMessage": "no such table", "errorType": "NotFound", "stackTrace": []}', "NotFound: no such table"),
        ("", "no answer"),
        ("\n", "no answer"),
        ("Function 'AdvanceFunction' timed out after 60 seconds", "is no answer"),
    ],
)
def test_a_function_that_failed_is_seen_to_have_failed(printed: str, words: str) -> None:
    """`sam local invoke` exits with 0 for all of these."""
    with pytest.raises(ValueError, match=words):
        answer_of(printed)


def test_one_event_that_went_wrong_fails_the_whole_and_shows_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    good = Invoked("tick", "null", "nothing", 4.0, (), "all quiet")
    bad = Invoked("sqs-one", "null", "nothing", 4.0, ("no item was changed",), "Traceback: it broke")
    assert judged([good]) == 0
    assert judged([good, bad]) == 1
    said = capsys.readouterr().out
    assert all(words in said for words in ("sqs-one", "no item was changed", "it broke", "2 events, 1 failed"))
    assert "all quiet" not in said


def test_an_event_that_there_is_not_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api-sumbit"]) == 2
    assert "api-submit" in capsys.readouterr().err


def test_a_key_is_told_of_and_not_shown() -> None:
    assert brief({"key": "slip_secret", "entity": "*", "name": "admin"}) == "a key for *"


def test_messages_that_are_handed_back_are_told_by_the_end_of_their_ids() -> None:
    assert (
        brief({"batchItemFailures": [{"itemIdentifier": "a-0010"}, {"itemIdentifier": "a-0011"}]}) == "back: 0010 0011"
    )


def test_no_key_of_a_real_account_reaches_a_container() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIAREAL", "AWS_PROFILE": "work", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x"}
    left = without_aws({**environ, "HOME": "/root"})
    assert left == {"HOME": "/root", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_build_is_made_from_is_there_to_be_looked_at(source: str) -> None:
    assert (ROOT / source).exists()
