"""Laws of templating: what holds of filling and merging whatever the config, the values and the fields that are open
(S3, S4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, attempt, problems_of

from slipway.documents import join, rewrite
from slipway.model import Json, TemplateVariable
from slipway.queues import parse_queue, queue_document
from slipway.template import check_variables, coerce, conform, fill, merge, placeholders

# --- filling

NAMES = ("a", "b", "größe")
PIECES = st.sampled_from(["{{a}}", "{{ b }}", "{{größe}}", "{", "}", "{{", "}}", "x", " ", "a", "${run_id}"])
TEXTS = st.lists(PIECES, max_size=5).map("".join)
CONFIGS = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
VALUES = st.fixed_dictionaries(
    dict.fromkeys(NAMES, TEXTS | st.integers() | st.lists(TEXTS | st.integers(), max_size=3) | st.booleans())
)


@given(CONFIGS, VALUES)
def test_no_placeholder_is_left_by_values_of_any_type(config: Json, values: dict[str, Json]) -> None:
    """S4: nor by the elements of a list."""
    filled, problems = attempt(lambda: fill(config, values, "config"))
    assert problems or placeholders(filled) == []


@given(CONFIGS, st.sets(st.sampled_from(NAMES)))
def test_every_placeholder_without_a_value_is_told_by_its_place(config: Json, known: set[str]) -> None:
    missing = {(where, name) for where, name in placeholders(config, "config") if name not in known}
    _, problems = attempt(lambda: fill(config, dict.fromkeys(known, 1), "config"))
    told = {(problem.field, name) for problem in problems for name in NAMES if f"{{{{{name}}}}}" in problem.rule}
    assert missing == told


@given(st.sampled_from(["{{a}}", "{{ a }}", "{{a }}"]), JSON.filter(lambda value: not placeholders(value)))
def test_a_placeholder_alone_is_its_value_with_its_type(text: str, value: Json) -> None:
    """S4: lists and mappings too."""
    filled = fill({"x": [text]}, {"a": value})
    assert filled == {"x": [value]}
    assert type(filled["x"][0]) is type(value)


@given(st.integers() | st.booleans() | st.lists(st.integers(), max_size=3))
def test_a_placeholder_within_a_text_is_its_value_as_json(value: Json) -> None:
    assert fill("n={{a}};", {"a": value}) == f"n={json.dumps(value)};"


@given(CONFIGS, VALUES)
def test_filling_changes_no_key_and_no_text_without_a_placeholder(config: Json, values: dict[str, Json]) -> None:
    filled, problems = attempt(lambda: fill(config, values))
    if problems:
        return

    def same(before: Json, after: Json) -> None:
        if isinstance(before, dict):
            assert list(before) == list(after)
            for key, inner in before.items():
                same(inner, after[key])
        elif isinstance(before, list):
            for one, other in zip(before, after, strict=True):
                same(one, other)
        elif not (isinstance(before, str) and placeholders(before)):
            assert before == after

    same(config, filled)


@given(CONFIGS, st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers() | st.booleans())))
def test_a_filled_config_is_filled_again_to_itself(config: Json, values: dict[str, Json]) -> None:
    filled, problems = attempt(lambda: fill(config, values))
    assert problems or fill(filled, {}) == filled


# --- merging

KEYS = st.sampled_from(["a", "b", "c.d", "e\\f"])
TREES = st.recursive(
    st.integers() | st.none() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=3)
PATHS = st.lists(st.lists(KEYS, min_size=1, max_size=3).map(tuple), max_size=3)
EVERYTHING = ["a", "b", r"c\.d", r"e\\f"]


def written(keys: tuple[str, ...]) -> str:
    path = ""
    for key in keys:
        path = join(path, key)
    return path


def leaves(value: Json, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Json]:
    if isinstance(value, dict) and value:
        return {at: leaf for key, inner in value.items() for at, leaf in leaves(inner, (*path, key)).items()}
    return {path: value}


@given(MAPPINGS, PATHS)
def test_no_overrides_change_nothing(config: Json, opened: list[tuple[str, ...]]) -> None:
    """S3: identity."""
    assert merge(config, {}, [written(keys) for keys in opened]) == (config, [])
    assert merge({}, config, EVERYTHING) == (config, [])


@given(MAPPINGS, MAPPINGS, PATHS)
def test_the_same_overrides_twice_are_the_same_overrides_once(
    config: Json, overrides: Json, opened: list[tuple[str, ...]]
) -> None:
    """S3: idempotence."""
    fields = [written(keys) for keys in opened]
    once, problems = merge(config, overrides, fields)
    twice, again = merge(once, overrides, fields)
    assert twice == once
    assert bool(again) == bool(problems)


@given(MAPPINGS, MAPPINGS)
def test_where_both_say_something_the_override_stands(config: Json, overrides: Json) -> None:
    """S3: right bias. A list replaces a list whole."""
    merged, problems = merge(config, overrides, EVERYTHING)
    assert problems == []

    def stands(new: Json, found: Json) -> None:
        if isinstance(new, dict) and new:
            for key, inner in new.items():
                stands(inner, found[key])
        elif new != {}:
            assert found == new

    stands(overrides, merged)


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_overrides_of_fields_that_have_nothing_in_common_come_in_any_order(
    config: Json, first: Json, second: Json
) -> None:
    """S3: associativity and commutativity where they are disjoint."""
    first = {key: value for key, value in first.items() if key in ("a", "c.d")}
    second = {key: value for key, value in second.items() if key in ("b", "e\\f")}

    def after(*overrides: Json) -> Json:
        merged = config
        for each in overrides:
            merged, problems = merge(merged, each, EVERYTHING)
            assert problems == []
        return merged

    together, _ = merge(first, second, EVERYTHING)
    assert after(first, second) == after(second, first) == after(together)


@given(MAPPINGS, MAPPINGS, PATHS)
def test_nothing_outside_the_open_fields_changes_and_all_of_it_is_told(
    config: Json, overrides: Json, opened: list[tuple[str, ...]]
) -> None:
    """S3."""
    merged, problems = merge(config, overrides, [written(keys) for keys in opened])
    before, after = leaves(config), leaves(merged)
    for path in before.keys() | after.keys():
        if before.get(path, ...) != after.get(path, ...):
            assert any(path[: len(keys)] == keys or keys[: len(path)] == path for keys in opened)
    closed = [path for path in leaves(overrides) if path and not any(path[: len(keys)] == keys for keys in opened)]
    assert bool(problems) >= any(overrides and not any(path[:1] == keys[:1] for keys in opened) for path in closed)
    assert all(
        problem.field.startswith("resource_args.") and "overridable_fields" in problem.fix for problem in problems
    )


@given(MAPPINGS, MAPPINGS, PATHS)
def test_merging_changes_neither_config_nor_overrides(
    config: Json, overrides: Json, opened: list[tuple[str, ...]]
) -> None:
    before = json.dumps([config, overrides])
    merge(config, overrides, [written(keys) for keys in opened])
    assert json.dumps([config, overrides]) == before


# --- lists as values


def array(**changes: Any) -> TemplateVariable:
    return TemplateVariable("array", **changes)


SMALL = TemplateVariable("integer", minimum=1, maximum=3)
ZONES = TemplateVariable("string", enum=("a", "b"))


@pytest.mark.parametrize(
    ("variable", "value", "result"),
    [
        (array(), ["x", 1, None], ["x", 1, None]),
        (array(), "x", ["must be a list"]),
        (array(minimum=1), [], ["must have at least 1 elements"]),
        (array(maximum=2), [1, 2, 3], ["must have at most 2 elements"]),
        (array(items=SMALL), [1, 2.0, 3], [1, 2, 3]),
        (array(items=SMALL), [1, 4, 5], ["each element must be at most 3"]),
        (array(items=SMALL), ["1"], ["each element must be a whole number"]),
        (array(items=ZONES), ["a", "b", "a"], ["a", "b", "a"]),
        (
            array(items=ZONES, maximum=1),
            ["a", "c"],
            ["must have at most 1 elements", "each element must be one of a, b"],
        ),
        (array(items=TemplateVariable("number")), [True], ["each element must be a number"]),
    ],
)
def test_a_list_and_its_elements_are_within_their_limits(variable: TemplateVariable, value: Json, result: Json) -> None:
    """S4."""
    values, problems = check_variables({"x": variable}, {"x": value})
    assert ([problem.rule for problem in problems] or values["x"]) == result
    assert [type(each) for each in values["x"]] == [type(each) for each in result] or problems


@pytest.mark.parametrize(
    ("items", "text", "value"),
    [
        (None, "a,b", ["a", "b"]),
        (None, " a , b ", ["a", "b"]),
        (None, "", []),
        (None, '["a", 1]', ["a", 1]),
        (None, "[a", "[a"),
        (TemplateVariable("integer"), "1,2", [1, 2]),
        (TemplateVariable("integer"), "[1, 2]", [1, 2]),
        (TemplateVariable("integer"), "1,x", [1, "x"]),
        (TemplateVariable("number"), "0.5,1", [0.5, 1.0]),
        (TemplateVariable("boolean"), "true,False", [True, False]),
        (ZONES, "a", ["a"]),
    ],
)
def test_a_list_comes_from_a_command_line_as_words_or_as_json(
    items: TemplateVariable | None, text: str, value: Json
) -> None:
    """S4."""
    assert coerce(array(items=items), text) == value


@given(
    st.lists(st.integers(-99, 99), max_size=4),
    st.none() | st.integers(0, 4),
    st.none() | st.integers(0, 4),
    st.sampled_from([json.dumps, lambda value: ",".join(map(str, value))]),
)
def test_a_list_written_in_either_way_is_read_and_held_against_its_limits(
    value: list[int], least: int | None, most: int | None, write: Any
) -> None:
    variable = array(items=TemplateVariable("integer"), minimum=least, maximum=most)
    read = coerce(variable, write(value))
    assert read == value
    _, broken = conform(variable, read)
    within = (least is None or len(value) >= least) and (most is None or len(value) <= most)
    assert within == (not broken)


@given(JSON, st.none() | st.sampled_from([SMALL, ZONES, TemplateVariable("boolean")]))
def test_any_value_conforms_or_is_told_what_it_breaks(value: Json, items: TemplateVariable | None) -> None:
    found, broken = conform(array(items=items, minimum=1, maximum=3), value)
    assert broken or (isinstance(found, list) and 1 <= len(found) <= 3)
    assert conform(array(items=items), found)[0] == found


def test_a_queue_declares_a_list_in_json_schemas_words_and_survives_its_document() -> None:
    """S4."""
    schema = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1, "maxItems": 2}
    queue = parse_queue(
        {
            "name": "q",
            "entity": "team",
            "resource": "kubernetes",
            "resource_args": {"zones": "{{zones}}", "text": "in {{zones}}"},
            "template_variables": {"zones": {"schema": {**schema, "default": ["a"]}}},
        }
    )
    assert queue.template_variables["zones"] == array(default=["a"], items=ZONES, minimum=1, maximum=2)
    assert parse_queue(queue_document(queue)) == queue
    assert fill(queue.config, {"zones": ["a", "b"]}) == {"zones": ["a", "b"], "text": 'in ["a", "b"]'}


def test_an_element_of_a_list_that_is_a_placeholder_is_refused() -> None:
    assert problems_of(lambda: fill({"x": "{{a}}"}, {"a": ["ok", "{{b}}"]}, "c")).keys() == {"c.x"}


@given(JSON)
def test_a_config_without_placeholders_is_filled_with_itself(config: Json) -> None:
    plain = rewrite(config, lambda text, _: text.replace("{{", ""))
    assert fill(plain, {}) == plain
