"""Items and errors as they are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.functions.world import World

from slipway.errors import AlreadyExists, Forbidden, Invalid, NotFound, Permanent, Problem, Refused, Stale, Temporary
from slipway.model import DeadLetter, Item, Moment, State, Topic
from slipway.views import (
    MASK,
    error_document,
    error_kind,
    item_document,
    item_summary,
    letter_document,
    masked,
    timestamp,
)


@pytest.fixture
def item() -> Item:
    world = World()
    world.queue()
    return world.submit(name="größe")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (None, None),
        (1e300, "9999-12-31T00:00:00.000Z"),
        (float("inf"), "9999-12-31T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(seconds: float | None, text: str | None) -> None:
    assert timestamp(seconds) == text


@pytest.mark.parametrize(
    ("started", "ended", "now", "duration"),
    [
        (None, None, 50.0, None),
        (10.0, None, None, None),
        (10.0, None, 12.5, 2.5),
        (10.0, 11.0, 50.0, 1.0),
        (10.0, None, 9.0, 0),
    ],
)
def test_a_duration_runs_until_the_end_or_now(
    item: Item, started: float | None, ended: float | None, now: float | None, duration: float | None
) -> None:
    shown = item_summary(replace(item, started_at=started, ended_at=ended), now)
    assert shown["duration_seconds"] == duration


def test_the_timeline_is_shown_in_order(item: Item) -> None:
    shown = item_document(replace(item, timeline=(*item.timeline, Moment(1_700_000_001.0, State.RUNNING, "up"))))
    assert shown["timeline"][-1] == {"at": "2023-11-14T22:13:21.000Z", "state": "running", "reason": "up"}


def test_a_summary_is_part_of_the_whole(item: Item) -> None:
    assert item_summary(item).items() <= item_document(item).items()


@pytest.mark.parametrize(
    "name",
    [
        "WANDB_API_KEY",
        "HF_TOKEN",
        "GITHUB_TOKEN_2",
        "AWS_SECRET_ACCESS_KEY",
        "dbPassword",
        "apikey",
        "client-secret",
        "SECRET_VALUE",
    ],
)
def test_a_value_under_a_secret_name_is_masked_wherever_it_stands(name: str) -> None:
    given: dict[str, Any] = {
        "env": {name: "hush"},
        "list": [f"{name}=hush", f"--{name}=hush", f"--{name}", "hush", "plain"],
        "containers": [{"env": [{"name": name, "value": "hush"}]}],
    }
    shown = masked(given)
    assert "hush" not in str(shown)
    assert shown["list"][-1] == "plain"
    assert shown["env"] == {name: MASK}


@pytest.mark.parametrize(
    "name",
    [
        "num_key_value_heads",
        "token_count",
        "tokenizer",
        "key",
        "secretName",
        "VolumeKmsKeyId",
        "PWD",
        "monkey",
        "idempotency_key",
    ],
)
def test_words_of_the_trade_are_not_masked(name: str) -> None:
    assert masked({name: "plain", "list": [f"{name}=plain"]}) == {name: "plain", "list": [f"{name}=plain"]}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:hush@git.example.com/a.git", f"https://{MASK}@git.example.com/a.git"),
        ("https://ghp_hush@git.example.com/a.git", f"https://{MASK}@git.example.com/a.git"),
        ("ssh://git@git.example.com/a.git", "ssh://git@git.example.com/a.git"),
        ("git@git.example.com:a.git", "git@git.example.com:a.git"),
        ("https://git.example.com/@scope/a", "https://git.example.com/@scope/a"),
    ],
)
def test_the_user_part_of_a_url_is_masked(url: str, shown: str) -> None:
    assert masked({"uri": url}) == {"uri": shown}


def test_a_reason_does_not_tell_a_password(item: Item) -> None:
    told = replace(item, reason="cannot clone https://user:hush@host/a.git")
    assert "hush" not in str(item_document(told))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@given(json_values)
def test_masking_takes_any_json_and_gives_strict_json(value: Any) -> None:
    shown = masked(value)
    json.dumps(shown, allow_nan=False)
    assert masked(shown) == shown


@given(json_values)
def test_masking_what_holds_no_name_changes_nothing_but_numbers_json_lacks(value: Any) -> None:
    text = json.dumps(value)
    if not any(letter.isalpha() for letter in text.replace("null", "").replace("true", "").replace("false", "")):
        assert json.dumps(masked(value)) == text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Invalid(Problem("a", "is bad")), "invalid"),
        (Forbidden("no"), "forbidden"),
        (NotFound("no"), "not_found"),
        (AlreadyExists("no"), "conflict"),
        (Stale(), "conflict"),
        (Temporary("no"), "temporary"),
        (Refused("no"), "temporary"),
        (Permanent("no"), "invalid"),
    ],
)
def test_each_error_has_one_kind(error: Any, kind: str) -> None:
    assert error_kind(error) == kind
    assert error_document(error)["error"]["kind"] == kind


def test_an_error_carries_every_problem() -> None:
    error = Invalid([Problem("a.b", "is bad", 3, "Make it 4."), Problem("c", "is missing")])
    assert error_document(error) == {
        "error": {
            "kind": "invalid",
            "message": "a.b: is bad (got 3). Make it 4.; c: is missing",
            "problems": [
                {"field": "a.b", "value": 3, "rule": "is bad", "fix": "Make it 4."},
                {"field": "c", "value": None, "rule": "is missing", "fix": ""},
            ],
        }
    }


def test_an_error_about_a_secret_does_not_tell_it() -> None:
    shown = str(error_document(Invalid(Problem("env.API_KEY", "must be text", "hush"))))
    assert "hush" not in shown
    assert MASK in shown


@given(json_values, st.text())
def test_any_error_can_be_sent(value: Any, field: str) -> None:
    json.dumps(error_document(Invalid(Problem(field, "is bad", value))), allow_nan=False)


@pytest.mark.parametrize(("topic", "shown"), [(Topic.ADVANCE, "body"), (Topic.BUILD, "body"), (Topic.SUBMIT, None)])
def test_a_dead_letter_shows_its_item_but_no_submission(topic: Topic, shown: str | None) -> None:
    assert letter_document(DeadLetter("1", topic, "body", "why", 5, 0.0))["item"] == shown
