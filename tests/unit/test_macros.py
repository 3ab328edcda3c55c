"""Macros: a closed table, filled in when the item leaves the queue (S5)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, attempt, problems_of

from slipway.documents import rewrite
from slipway.errors import Invalid
from slipway.macros import MACROS, check, expand
from slipway.model import Json

TABLE: dict[str, str | None] = {name: f"<{name}>" for name in MACROS}


def test_macros_are_filled_in_at_any_depth_and_keys_stay() -> None:
    """S5."""
    value = {"labels": [{"v": "${project_name}"}], "name": "job-${run_id}-${attempt}", "n": 3, "${run_id}": "$x {y} $"}
    assert expand(value, TABLE) == {
        "labels": [{"v": "<project_name>"}],
        "name": "job-<run_id>-<attempt>",
        "n": 3,
        "${run_id}": "$x {y} $",
    }


def test_the_table_has_wandbs_macros_and_the_documented_extras() -> None:
    """S5."""
    theirs = {"project_name", "entity_name", "run_id", "run_name", "image_uri", "author"}
    assert MACROS.keys() == theirs | {"item_id", "attempt", "queue_name"}


@pytest.mark.parametrize(
    "text", ["${image_url}", "${HOME}", "${}", "${ run_id }", "${run-id}", "${run_id", "${run_idx", "${a:-${b}}"]
)
def test_what_is_no_macro_is_refused_by_its_place(text: str) -> None:
    """S5."""
    with pytest.raises(Invalid) as refusal:
        expand({"a": [text]}, TABLE, "resource_args")
    assert {problem.field for problem in refusal.value.problems} == {"resource_args.a[0]"}
    assert check({"a": [text]}, "resource_args") == list(refusal.value.problems)


def test_an_unknown_macro_is_answered_with_the_nearest_and_the_escape() -> None:
    (problem,) = check("${image_url}", "image")
    assert str(problem) == (
        "image: is not a macro (got '${image_url}'). Did you mean 'image_uri'? A literal ${ is written $${."
    )


def test_a_macro_without_a_value_is_refused_and_is_never_the_text_none() -> None:
    """S5."""
    problems = problems_of(lambda: expand({"user": "${author}", "run": "${run_id}"}, {**TABLE, "author": None}))
    assert problems.keys() == {"user"}


def test_a_doubled_dollar_is_a_literal() -> None:
    assert expand("echo $${HOME} $$ $${run_id} ${run_id}", TABLE) == "echo ${HOME} $$ ${run_id} <run_id>"
    assert check("$${HOME}") == []


def test_what_is_put_in_is_not_read_again() -> None:
    assert expand("${run_name}", {**TABLE, "run_name": "${run_id} $${x}"}) == "${run_id} $${x}"


def test_the_process_environment_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Design §7. W&B's agent merges its environment into the table, and lets it win."""
    monkeypatch.setenv("run_id", "leaked")
    monkeypatch.setenv("DATABASE_PASSWORD", "leaked")
    assert expand("${run_id}", TABLE) == "<run_id>"
    assert check("${DATABASE_PASSWORD}") != []


PIECES = [*(f"${{{name}}}" for name in MACROS), "$", "{", "}", "${", "$${", "x", "run_id", " "]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_no_macro_is_left(value: Json) -> None:
    unescaped = rewrite(value, lambda text, _: re.sub(r"\$+", "$", text))
    result, problems = attempt(lambda: expand(unescaped, TABLE))
    left: list[str] = []
    if not problems:
        rewrite(result, lambda text, _: left.append(text))
    assert not any("${" in text for text in left)


@given(VALUES)
def test_check_refuses_exactly_what_expand_would(value: Json) -> None:
    _, problems = attempt(lambda: expand(value, TABLE))
    assert list(problems) == check(value)


@given(JSON)
def test_a_value_without_a_dollar_is_unchanged(value: Json) -> None:
    plain = rewrite(value, lambda text, _: text.replace("$", ""))
    assert expand(plain, TABLE) == plain
