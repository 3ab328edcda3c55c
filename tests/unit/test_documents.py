from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, problems_of

from slipway.documents import MAX_BYTES, MAX_DEPTH, MAX_KEY, MAX_PROBLEMS, Reader, check_json, join, rewrite, split
from slipway.errors import Invalid


@given(JSON)
def test_json_is_accepted(value: object) -> None:
    check_json(value)
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        "\ud800",
        2**64,
        -(2**70),
        datetime.date(2026, 1, 1),
        b"x",
        {1},
        {1: "x"},
        {"\udfff": 1},
    ],
)
def test_what_json_does_not_have_is_refused(value: object) -> None:
    assert problems_of(lambda: check_json({"a": [value]})).keys() == {"a[0]"}


def test_every_place_that_is_not_json_is_named() -> None:
    document = {"a": float("nan"), "b": {"c.d": [1, float("inf")]}}
    assert problems_of(lambda: check_json(document)).keys() == {"a", r"b.c\.d[1]"}


def test_a_document_that_contains_itself_is_refused() -> None:
    document: list[object] = []
    document += [document, document]
    with pytest.raises(Invalid, match="nested deeper"):
        check_json(document)


def test_a_few_aliases_do_not_stand_for_gigabytes() -> None:
    value: object = "lol"
    for _ in range(40):
        value = [value, value]
    with pytest.raises(Invalid, match="larger than 1024 KiB"):
        check_json(value)


def test_nesting_is_allowed_up_to_its_limit() -> None:
    def nested(levels: int) -> object:
        return [nested(levels - 1)] if levels else 0

    check_json(nested(MAX_DEPTH - 1))
    with pytest.raises(Invalid, match=f"deeper than {MAX_DEPTH}"):
        check_json(nested(MAX_DEPTH))


def test_size_is_counted_in_bytes_of_json() -> None:
    check_json({"x": "a" * (MAX_BYTES - 9)})
    with pytest.raises(Invalid, match="larger than"):
        check_json({"x": "a" * (MAX_BYTES - 8)})
    with pytest.raises(Invalid, match="larger than"):
        check_json({"x": "é" * (MAX_BYTES // 2)})


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_path_splits_into_the_keys_it_was_joined_from(keys: list[str]) -> None:
    path = ""
    for key in keys:
        path = join(path, key)
    assert split(path) == tuple(keys)


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\\", "a\\b"])
def test_what_is_no_path_splits_into_nothing(path: str) -> None:
    assert split(path) is None


@given(JSON)
def test_rewriting_with_the_same_text_changes_nothing(value: object) -> None:
    assert rewrite(value, lambda text, _: text) == value


def test_rewriting_leaves_keys_and_tells_where_each_string_stands() -> None:
    value = {"a": ["x", {"b.c": "y"}], "n": 3}
    assert rewrite(value, lambda text, path: f"{text}@{path}", "top") == {
        "a": ["x@top.a[0]", {"b.c": r"y@top.a[1].b\.c"}],
        "n": 3,
    }


def test_an_unknown_field_is_answered_with_the_nearest_known_one() -> None:
    reader = Reader({"qeue": 1}, ["queue", "name"])
    assert [str(problem) for problem in reader.problems] == ["qeue: is not a known field. Did you mean 'queue'?"]


def test_thousands_of_unknown_fields_are_answered_briefly() -> None:
    reader = Reader({f"x{number}": 1 for number in range(5000)}, ["queue"])
    assert len(reader.problems) == 21
    assert "4980 more" in str(reader.problems[-1])


def test_thousands_of_problems_are_answered_briefly() -> None:
    reader = Reader({"args": [1] * 5000}, ["args"])
    reader.strings("args")
    problems = problems_of(reader.finish)
    assert len(problems) == MAX_PROBLEMS + 1
    assert "4950 more" in problems["document"].rule


def test_a_key_is_short_enough_to_stand_in_a_message() -> None:
    check_json({"k" * MAX_KEY: 1})
    (problem,) = problems_of(lambda: check_json({"k" * (MAX_KEY + 1): 1})).values()
    assert len(str(problem)) < 200


def test_a_name_can_stand_in_a_url() -> None:
    values = ["x/y", "..", " x", "", "x\n", "x" * 9, 5, "日本語", None]
    reader = Reader(dict(zip("abcdefghi", values, strict=True)), "abcdefghi")
    read = {field: reader.name(field, 8) for field in "abcdefghi"}
    assert {field for field, value in read.items() if value} == {"h"}
    assert [problem.field for problem in reader.problems] == list("abcdefg")
