"""Queue files: a queue is checked whole when it is applied (S1, S2, S4, S6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import MAPPINGS, any_document, attempt, problems_of

from slipway.builders import BUILDERS
from slipway.model import Queue, TemplateVariable, Timeouts
from slipway.queues import parse_queue, queue_document
from slipway.resources import RESOURCES

QUEUE = {"name": "gpu", "entity": "team", "resource": "kubernetes"}
FIELDS = (
    *("name", "entity", "resource", "resource_args", "config", "template_variables", "overridable_fields", "max_jobs"),
    *("prioritization", "prioritization_mode", "builder", "timeouts", "paused", "schema", "type", "default", "enum"),
    *("minimum", "maximum", "description", "kubernetes", "accelerator", "base_image", "x", "run"),
)
LIKELY: tuple[Any, ...] = (
    "kubernetes",
    "integer",
    "string",
    1,
    -1,
    0.5,
    True,
    "{{x}}",
    "${run_id}",
    "${",
    "a.b",
    "V0",
    "docker",
    {},
    [],
)


def accepted(**changes: Any) -> Queue:
    return parse_queue({**QUEUE, **changes})


def refused(**changes: Any) -> dict[str, Any]:
    return problems_of(lambda: parse_queue({**QUEUE, **changes}))


def test_a_queue_says_little_and_has_the_defaults() -> None:
    assert accepted() == Queue("team", "gpu", "kubernetes", max_jobs=1)


@pytest.mark.parametrize(
    "words",
    [
        {"config": {"spec": 1}},
        {"resource_args": {"spec": 1}},
        {"config": {"kubernetes": {"spec": 1}}},
        {"resource_args": {"kubernetes": {"spec": 1}}},
        {"config": {"resource_args": {"kubernetes": {"spec": 1}}}},
        {"config": {"kubernetes": {"spec": 1}}, "resource": None},
    ],
)
def test_the_config_may_be_bare_or_nested(words: dict[str, Any]) -> None:
    """S1."""
    assert accepted(**words) == Queue("team", "gpu", "kubernetes", config={"spec": 1})


def test_vertex_is_understood_as_gcp_vertex() -> None:
    assert accepted(resource="gcp-vertex", config={"vertex": {"run": {}}}).config == {"run": {}}


def test_config_and_resource_args_together_are_refused() -> None:
    assert refused(config={"a": 1}, resource_args={"a": 1}).keys() == {"config"}


def test_a_config_for_another_resource_is_refused() -> None:
    assert refused(config={"sagemaker": {}}).keys() == {"config"}


def test_an_unknown_resource_is_answered_with_the_nearest() -> None:
    assert refused(resource="sagemakr")["resource"].fix == "Did you mean 'sagemaker'?"
    assert refused(resource=None).keys() == {"resource"}


def test_an_unknown_field_is_answered_with_the_nearest() -> None:
    problems = refused(max_job=3, timeouts={"runs": 1}, template_variables={"x": {"type": "integer", "minimun": 1}})
    assert {field: problem.fix for field, problem in problems.items()} == {
        "max_job": "Did you mean 'max_jobs'?",
        "timeouts.runs": "Did you mean 'run'?",
        "template_variables.x.minimun": "Did you mean 'minimum'?",
    }


def test_a_template_variable_is_declared_as_in_wandb_or_bare() -> None:
    """S4."""
    schema = {"type": "float", "default": 0.1, "minimum": 0, "maximum": 1}
    nested = accepted(template_variables={"lr": {"schema": schema, "description": "learning rate"}})
    bare = accepted(template_variables={"lr": {**schema, "description": "learning rate"}})
    variable = TemplateVariable("number", 0.1, None, 0, 1, "learning rate")
    assert nested.template_variables == bare.template_variables == {"lr": variable}


@pytest.mark.parametrize(
    ("declaration", "field"),
    [
        ({}, "type"),
        ({"type": "int3"}, "type"),
        ({"type": "integer", "default": "x"}, "default"),
        ({"type": "integer", "default": True}, "default"),
        ({"type": "integer", "default": 5, "maximum": 4}, "default"),
        ({"type": "string", "default": "c", "enum": ["a", "b"]}, "default"),
        ({"type": "string", "enum": []}, "enum"),
        ({"type": "string", "enum": ["a", 3]}, "enum[1]"),
        ({"type": "string", "minimum": 1}, "minimum"),
        ({"type": "number", "minimum": 2, "maximum": 1}, "minimum"),
        ({"type": "number", "minimum": "1"}, "minimum"),
    ],
)
def test_a_bad_declaration_is_refused(declaration: dict[str, Any], field: str) -> None:
    """S4."""
    assert refused(template_variables={"x": declaration}).keys() == {f"template_variables.x.{field}"}


def test_a_placeholder_must_be_declared() -> None:
    """S4."""
    problems = refused(
        config={"spec": {"cpu": ["{{ cpus }}", "{{cpu}}"]}}, template_variables={"cpu": {"type": "integer"}}
    )
    assert problems.keys() == {"config.spec.cpu[0]"}
    assert problems["config.spec.cpu[0]"].fix == "Did you mean 'cpu'?"


def test_what_is_no_placeholder_is_left_alone() -> None:
    config = {"format": "{{.Name}} {{ a.b }} {{}} {x}"}
    assert accepted(config=config).config == config


def test_an_unknown_macro_is_found_when_the_queue_is_applied() -> None:
    """S5."""
    problems = refused(config={"kubernetes": {"image": "${image_url}"}})
    assert "Did you mean 'image_uri'?" in problems["config.kubernetes.image"].fix


@pytest.mark.parametrize("value", [1, 100, -1])
def test_max_jobs_is_a_count_or_no_limit(value: int) -> None:
    assert accepted(max_jobs=value).max_jobs == value


@pytest.mark.parametrize("value", [0, -2, 1.0, True, "3", []])
def test_any_other_max_jobs_is_refused(value: object) -> None:
    assert refused(max_jobs=value).keys() == {"max_jobs"}


def test_prioritization_is_ours_or_wandbs_word() -> None:
    """S2."""
    assert accepted(prioritization=True).prioritization
    assert accepted(prioritization_mode="V0").prioritization
    assert not accepted(prioritization_mode="DISABLED").prioritization
    assert refused(prioritization_mode="V1").keys() == {"prioritization_mode"}
    assert refused(prioritization_mode="V0", prioritization=False).keys() == {"prioritization_mode"}


def test_a_builder_inside_the_config_is_taken_out_and_merged() -> None:
    """S6."""
    inside = {"accelerator": {"base_image": "nvidia/cuda:12"}, "type": "kaniko"}
    queue = accepted(config={"kubernetes": {"spec": 1, "builder": inside}}, builder={"type": "docker"})
    assert queue.config == {"spec": 1}
    assert queue.builder == {"accelerator": {"base_image": "nvidia/cuda:12"}, "type": "docker"}


def test_a_builder_is_checked_where_it_stands() -> None:
    """S6, S8."""
    config = {"kubernetes": {"builder": {"accelerator": {"base_image": 5}}}}
    problems = refused(builder={"type": "dokcer"}, config=config)
    assert problems.keys() == {"builder.type", "config.kubernetes.builder.accelerator.base_image"}


def test_overridable_fields_are_paths() -> None:
    """S3."""
    assert accepted(overridable_fields=["a", r"a.b\.c"]).overridable_fields == ("a", r"a.b\.c")
    problems = refused(overridable_fields=["a", "a..b", "builder.type"])
    assert problems.keys() == {"overridable_fields[1]", "overridable_fields[2]"}


def test_timeouts_are_seconds() -> None:
    assert accepted(timeouts={"run": 60}).timeouts == Timeouts(run=60.0)
    problems = refused(timeouts={"run": 0, "stop": "1h", "build": True})
    assert problems.keys() == {"timeouts.run", "timeouts.stop", "timeouts.build"}


def test_resumes_are_counted_from_0() -> None:
    assert [accepted(**fields).max_resumes for fields in ({}, {"max_resumes": 0}, {"max_resumes": 50})] == [5, 0, 50]
    for wrong in (-1, 1.5, 1001, "many"):
        assert refused(max_resumes=wrong).keys() == {"max_resumes"}


def test_what_w_and_bs_default_config_leaves_open_is_asked_for() -> None:
    """S17, S18."""
    config = {"RoleArn": "<REQUIRED>", "OutputDataConfig": {"S3OutputPath": "<REQUIRED>"}}
    problems = refused(resource="sagemaker", config=config)
    assert problems.keys() == {"config.RoleArn", "config.OutputDataConfig.S3OutputPath"}


def test_secrets_are_named_and_never_given() -> None:
    assert accepted(secrets={"HF_TOKEN": "TEAM_HF"}).secrets == {"HF_TOKEN": "TEAM_HF"}
    problems = refused(secrets={"HF_TOKEN": "hf_s3cr3t", "1X": "A", "WANDB_RUN_ID": "A", "Y": 3})
    assert problems.keys() == {"secrets.HF_TOKEN", "secrets.1X", "secrets.WANDB_RUN_ID", "secrets.Y"}
    assert not any("s3cr3t" in str(problem) for problem in problems.values())


def test_all_mistakes_are_reported_together() -> None:
    problems = refused(name="a/b", max_jobs=0, paused="no", config={"a": "{{x}} ${y}"}, template_variables={"1x": {}})
    assert problems.keys() == {
        "name",
        "max_jobs",
        "paused",
        "config.a",
        "template_variables.1x",
        "template_variables.1x.type",
    }


@given(any_document(FIELDS, LIKELY))
def test_any_value_is_a_queue_or_invalid(document: Any) -> None:
    queue, problems = attempt(lambda: parse_queue(document, entity="team"))
    assert isinstance(queue, Queue) != bool(problems)
    assert all(problem.field and problem.rule and str(problem) for problem in problems)


NAMES = st.text(st.characters(categories=["L"], max_codepoint=0xFFFF), min_size=1, max_size=12)
VARIABLES = st.one_of(
    st.builds(TemplateVariable, st.just("string"), st.none() | NAMES, description=st.text()),
    st.builds(TemplateVariable, st.just("string"), st.none(), st.lists(NAMES, min_size=1).map(tuple)),
    st.builds(
        TemplateVariable, st.just("integer"), st.integers(5, 9) | st.none(), minimum=st.just(5), maximum=st.just(9)
    ),
    st.builds(TemplateVariable, st.just("boolean"), st.booleans()),
)
SECONDS = st.floats(1, 1e6)
QUEUES = st.builds(
    Queue,
    entity=NAMES,
    name=NAMES,
    resource=st.sampled_from(RESOURCES),
    config=MAPPINGS.filter(
        lambda config: "builder" not in config and not any(sign in str(config) for sign in ("{{", "${"))
    ),
    template_variables=st.dictionaries(st.from_regex(r"[a-z]\w{0,5}", fullmatch=True), VARIABLES, max_size=3),
    overridable_fields=st.lists(NAMES, max_size=3).map(tuple),
    max_jobs=st.just(-1) | st.integers(1, 1000),
    prioritization=st.booleans(),
    builder=st.fixed_dictionaries(
        {"type": st.sampled_from(BUILDERS)}, optional={"accelerator": st.just({"base_image": "a"})}
    ),
    timeouts=st.builds(Timeouts, SECONDS, SECONDS, SECONDS, SECONDS, SECONDS),
    paused=st.booleans(),
)


@given(QUEUES)
def test_a_queue_survives_its_document(queue: Queue) -> None:
    assert parse_queue(json.loads(json.dumps(queue_document(queue)))) == queue
