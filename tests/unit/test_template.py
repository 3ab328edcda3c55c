"""Templates and overrides: submitters change what the queue opens, inside its limits, and nothing else (S3, S4)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, problems_of

from slipway.documents import join, rewrite
from slipway.errors import Invalid
from slipway.model import GitSource, Job, Json, Queue, Submission, TemplateVariable
from slipway.template import check_variables, coerce, fill, merge, placeholders, resolve

STRING = TemplateVariable("string")
INTEGER = TemplateVariable("integer")
NUMBER = TemplateVariable("number")
BOOLEAN = TemplateVariable("boolean")
CONFIG = {"image": "${image_uri}", "spec": {"cpu": "{{ cpu }}", "memory": "{{memory}}Gi", "tier": "spot"}, "list": [1]}
VARIABLES = {"cpu": TemplateVariable("integer", 2, None, 1, 8), "memory": TemplateVariable("number", 4)}


def queue(**changes: Any) -> Queue:
    words: dict[str, Any] = {
        "config": CONFIG,
        "template_variables": VARIABLES,
        "overridable_fields": ("spec.tier", "env"),
    }
    return Queue("team", "gpu", "kubernetes", **{**words, **changes})


def submission(**changes: Any) -> Submission:
    return Submission(Job(GitSource("https://h/x")), "gpu", "team", "digits", **changes)


def checked(variable: TemplateVariable, value: Json) -> Json:
    """The value as the variable takes it; the rule it breaks when it is refused."""
    values, problems = check_variables({"x": variable}, {"x": value})
    assert all(problem.field == "template_variables.x" for problem in problems)
    return [problem.rule for problem in problems] or values["x"]


def test_resource_args_are_the_config_filled_and_overridden() -> None:
    """S3, S4."""
    result = resolve(
        queue(),
        submission(template_variables={"cpu": 4}, resource_args={"spec": {"tier": "standard"}, "env": {"A": "b"}}),
    )
    assert result == {
        "image": "${image_uri}",
        "spec": {"cpu": 4, "memory": "4Gi", "tier": "standard"},
        "list": [1],
        "env": {"A": "b"},
    }


def test_all_mistakes_of_a_submission_are_reported_together() -> None:
    args = {"spec": {"cpu": 64, "tier": "${who}"}, "env": {"hostPID": True, "b": "{{cpu}}"}}
    values = {"cpu": 9, "memory": "much", "gpu": 1}
    problems = problems_of(lambda: resolve(queue(), submission(template_variables=values, resource_args=args)))
    assert problems.keys() == {
        *("template_variables.cpu", "template_variables.memory", "template_variables.gpu", "resource_args.spec.cpu"),
        *("resource_args.spec.tier", "resource_args.env.hostPID", "resource_args.env.b"),
    }


def test_another_resource_is_refused() -> None:
    args = {"RoleArn": "x"}
    problems = problems_of(lambda: resolve(queue(), submission(resource="sagemaker", resource_args=args)))
    assert problems.keys() == {"resource"}
    assert "kubernetes" in problems["resource"].rule


def test_a_value_is_refused_with_the_field_the_value_and_the_rule() -> None:
    """S4."""
    _, problems = check_variables({"lr": TemplateVariable("number", maximum=1.0)}, {"lr": 5})
    assert [str(problem) for problem in problems] == ["template_variables.lr: must be at most 1.0 (got 5)"]


@pytest.mark.parametrize(
    ("variable", "value", "result"),
    [
        (STRING, "x", "x"),
        (STRING, 3, ["must be text"]),
        (INTEGER, 3, 3),
        (INTEGER, 3.0, 3),
        (INTEGER, 3.5, ["must be a whole number"]),
        (INTEGER, "3", ["must be a whole number"]),
        (INTEGER, True, ["must be a whole number"]),
        (NUMBER, 3, 3),
        (NUMBER, 0.5, 0.5),
        (NUMBER, False, ["must be a number"]),
        (BOOLEAN, True, True),
        (BOOLEAN, 1, ["must be true or false"]),
        (TemplateVariable("string", enum=("a", "b")), "b", "b"),
        (TemplateVariable("string", enum=("a", "b")), "c", ["must be one of a, b"]),
        (TemplateVariable("integer", minimum=1, maximum=3), 1, 1),
        (TemplateVariable("integer", minimum=1, maximum=3), 3, 3),
        (TemplateVariable("integer", minimum=1, maximum=3), 0, ["must be at least 1"]),
        (TemplateVariable("integer", minimum=1, maximum=3), 4, ["must be at most 3"]),
        (TemplateVariable("integer", enum=(2, 9), maximum=3), 5, ["must be one of 2, 9", "must be at most 3"]),
        (INTEGER, None, ["is missing, and has no default; it is a whole number"]),
        (TemplateVariable("integer", 7), None, 7),
    ],
)
def test_values_keep_their_type_and_limits(variable: TemplateVariable, value: Json, result: Json) -> None:
    """S4."""
    outcome = checked(variable, value)
    assert (outcome, type(outcome)) == (result, type(result))


def test_an_unknown_variable_is_answered_with_the_nearest() -> None:
    """S4."""
    problems = check_variables({"cpus": TemplateVariable("integer", 1)}, {"cpu": 1})[1]
    assert [problem.fix for problem in problems] == ["Did you mean 'cpus'?"]


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        (INTEGER, "12", 12),
        (INTEGER, " -3 ", -3),
        (INTEGER, "3.0", 3.0),
        (INTEGER, "three", "three"),
        (INTEGER, "9" * 5000, "9" * 5000),
        (NUMBER, "1e-3", 0.001),
        (NUMBER, "nan", "nan"),
        (NUMBER, "", ""),
        (BOOLEAN, "True", True),
        (BOOLEAN, "false", False),
        (BOOLEAN, "yes", "yes"),
        (STRING, " 12", " 12"),
    ],
)
def test_text_from_a_command_line_means_a_value_of_the_type(variable: TemplateVariable, text: str, value: Json) -> None:
    assert coerce(variable, text) == value
    assert type(coerce(variable, text)) is type(value)


@given(st.sampled_from([STRING, INTEGER, NUMBER, BOOLEAN]), st.text())
def test_any_text_is_coerced_and_then_accepted_or_refused(variable: TemplateVariable, text: str) -> None:
    check_variables({"x": variable}, {"x": coerce(variable, text)})


@given(st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_a_value_written_as_text_is_coerced_back(value: Any) -> None:
    kind = BOOLEAN if isinstance(value, bool) else INTEGER if isinstance(value, int) else NUMBER
    assert coerce(kind, str(value)) == value


def test_a_whole_placeholder_keeps_the_type_and_any_other_is_text() -> None:
    """S4."""
    values = {"n": 3, "f": 0.5, "b": True, "s": "x", "größe": 1}
    config = {"a": ["{{n}}", "{{ f }}", "{{b}}", "{{s}}"], "t": "{{n}}/{{f}}/{{b}}/{{s}}/{{größe}}", "{{n}}": None}
    assert fill(config, values) == {"a": [3, 0.5, True, "x"], "t": "3/0.5/true/x/1", "{{n}}": None}


def test_a_placeholder_without_a_value_is_refused_by_its_place() -> None:
    assert problems_of(lambda: fill({"a": [{"b": "{{n}}"}]}, {})).keys() == {"a[0].b"}


def test_values_cannot_make_a_placeholder_together() -> None:
    with pytest.raises(Invalid, match="contains a placeholder"):
        fill("{{a}}{{b}}", {"a": "{{", "b": "a}}"})


TEMPLATES = st.lists(st.sampled_from(["{{a}}", "{{ b }}", "{", "}", "x", " ", "{{", "}}", "a", "$"]), max_size=6).map(
    "".join
)
CONFIGS = st.recursive(
    TEMPLATES | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEMPLATES, inner, max_size=3),
    max_leaves=8,
)


@given(CONFIGS, st.fixed_dictionaries({"a": TEMPLATES | st.integers(), "b": st.booleans() | TEMPLATES}))
def test_no_placeholder_is_left_whatever_the_values(config: Json, values: dict[str, Json]) -> None:
    try:
        result = fill(config, values)
    except Invalid:
        # A value with braces, or a placeholder inside braces, could make a placeholder anew.
        braces = [str(value) for value in values.values()] + [str(config).replace("{{", "", 1)]
        assert any("{" in text or "}" in text for text in braces)
    else:
        assert placeholders(result) == []


@given(JSON)
def test_a_config_without_placeholders_is_filled_with_nothing(config: Json) -> None:
    plain = rewrite(config, lambda text, _: text.replace("{{", ""))
    assert fill(plain, {}) == plain


def test_overrides_merge_at_and_below_an_overridable_path() -> None:
    """S3."""
    config = {"a": {"b": {"x": 1, "y": [1, 2]}, "c": 1}}
    overrides = {"a": {"b": {"y": [3], "z": {"new": 1}}}}
    assert merge(config, overrides, ["a.b"]) == ({"a": {"b": {"x": 1, "y": [3], "z": {"new": 1}}, "c": 1}}, [])


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        ({"c": 1}, "c"),
        ({"a": {"c": 1}}, "a.c"),
        ({"a": 1}, "a"),
        ({"a": []}, "a"),
        ({"a": None}, "a"),
        ({"a": {"bb": 1}}, "a.bb"),
        ({"s": {"b": 1}}, "s"),
        ({"d.e": 1}, r"d\.e"),
        ({"a": {"q": {}}}, "a.q"),
    ],
)
def test_anything_else_is_refused_with_the_path_and_the_cure(overrides: dict[str, Json], path: str) -> None:
    """S3."""
    config = {"a": {"b": 1, "c": 2}, "s": "text"}
    result, problems = merge(config, overrides, ["a.b", "s.b", "d.e"])
    assert result == config
    assert [problem.field for problem in problems] == [f"resource_args.{path}"]
    assert f"list '{path}' in overridable_fields" in problems[0].fix


def test_a_key_with_a_dot_is_opened_with_an_escape() -> None:
    assert merge({}, {"labels": {"a.b/c": "x"}}, [r"labels.a\.b/c"]) == ({"labels": {"a.b/c": "x"}}, [])


KEYS = st.sampled_from(["a", "b", "c.d"])
TREES = st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=3)
PATHS = st.lists(st.lists(KEYS, min_size=1, max_size=3), max_size=3)


def leaves(value: Json, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Json]:
    if isinstance(value, dict) and value:
        return {at: leaf for key, inner in value.items() for at, leaf in leaves(inner, (*path, key)).items()}
    return {path: value}


@given(MAPPINGS, MAPPINGS, PATHS)
def test_what_is_not_opened_is_never_changed(config: Json, overrides: Json, opened: list[list[str]]) -> None:
    """S3."""
    fields = []
    for keys in opened:
        path = ""
        for key in keys:
            path = join(path, key)
        fields.append(path)
    result, problems = merge(config, overrides, fields)
    before, after = leaves(config), leaves(result)
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path):
            related = [keys for keys in map(tuple, opened) if path[: len(keys)] == keys or keys[: len(path)] == path]
            assert related, (path, problems)


@given(MAPPINGS, MAPPINGS)
def test_merging_laws(config: Json, overrides: Json) -> None:
    everything = ["a", "b", r"c\.d"]
    assert merge(config, {}, everything) == (config, [])
    assert merge({}, overrides, everything) == (overrides, [])
    once, problems = merge(config, overrides, everything)
    assert problems == []
    assert merge(once, overrides, everything) == (once, [])
    closed, refused = merge(config, overrides, [])
    assert closed == config
    assert len(refused) == len(overrides)
