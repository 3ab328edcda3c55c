"""Guardrails: what a submitter may not set, whatever the queue opens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, MAPPINGS, problems_of

from slipway.guardrails import DOCKER_OPTIONS, KUBERNETES_PRESENT, KUBERNETES_TRUE, check, check_manifest, option_name
from slipway.model import GitSource, Job, Json, Queue, Submission
from slipway.resources import RESOURCES
from slipway.template import resolve


def fields(resource: str, overrides: dict[str, Json]) -> list[str]:
    return [problem.field for problem in check(resource, overrides)]


@pytest.mark.parametrize("option", sorted(DOCKER_OPTIONS - {"e", "env"}))
def test_the_allowed_docker_options_are_allowed(option: str) -> None:
    """S19."""
    assert fields("local-container", {option: "2", f"--{option.replace('-', '_').upper()}": 2}) == []


@pytest.mark.parametrize(
    "option", ["privileged", "v", "volume", "--cap_add", "network", "device", "p", "pid", "", "env x"]
)
def test_any_other_docker_option_is_refused(option: str) -> None:
    """S19."""
    (problem,) = check("local-container", {option: "x"})
    assert option_name(option) in problem.rule
    assert "queue's owner" in problem.fix


@pytest.mark.parametrize("value", [["2", "--privileged"], {"x": "y"}, True, None, []])
def test_a_docker_option_is_one_value(value: Json) -> None:
    assert fields("local-container", {"cpus": value}) == ["resource_args.cpus"]


@pytest.mark.parametrize("env", [["A=b"], ["A=b", "C="], "A=b=c", {"A": "b", "N": 3}])
@pytest.mark.parametrize("resource", ["local-container", "local-process"])
def test_the_environment_may_be_set(resource: str, env: Json) -> None:
    assert fields(resource, {"env": env}) == []


@pytest.mark.parametrize("env", [[], None, 3, [3], ["A"], "A", ["=x"], {"A": None}, {"A": ["x"]}, {"A": True}])
@pytest.mark.parametrize("resource", ["local-container", "local-process"])
def test_a_variable_is_never_read_from_the_launching_machine(resource: str, env: Json) -> None:
    """S19: an entry without a value comes from the launching machine, which is the queue owner's to allow."""
    (field,) = fields(resource, {"env": env})
    assert field.startswith("resource_args.env")


@pytest.mark.parametrize("env", [["WANDB_API_KEY=x"], {"SLIPWAY_ITEM": "x"}, " wandb_run_id=x", ["WANDB_ENTITY"]])
@pytest.mark.parametrize("resource", ["local-container", "local-process"])
def test_who_a_run_is_cannot_be_overridden(resource: str, env: Json) -> None:
    (problem,) = check(resource, {"env": env})
    assert "WANDB_" in problem.rule


def test_a_refused_variable_is_named_without_its_value() -> None:
    (problem,) = check("local-container", {"env": ["WANDB_API_KEY=hunter2"]})
    assert "WANDB_API_KEY" in str(problem)
    assert "hunter2" not in str(problem)


def test_a_local_process_has_nothing_but_an_environment_to_set() -> None:
    assert fields("local-process", {"cwd": "x", "env": ["A=b"]}) == ["resource_args.cwd"]


TRUE = st.sampled_from([True, 1, "x", "false", {"a": 1}, ["x"]])
FALSE = st.sampled_from([False, 0, "", None])


@st.composite
def nested(draw: st.DrawFn, key: st.SearchStrategy[str], value: st.SearchStrategy[Json]) -> dict[str, Json]:
    """The key with the value, somewhere inside mappings and lists."""
    result: dict[str, Json] = {draw(key): draw(value)}
    for wrap in draw(st.lists(st.sampled_from(["spec", "containers", "template"]), max_size=4)):
        result = {wrap: [0, result]} if draw(st.booleans()) else {wrap: result, "z": 1}
    return result


def spellings(field: str) -> st.SearchStrategy[str]:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)
    return st.sampled_from([field, snake, field.lower(), f" {field}"])


PRESENT = st.sampled_from(sorted(KUBERNETES_PRESENT)).flatmap(lambda field: nested(spellings(field), TRUE | FALSE))
TRUTHY = st.sampled_from(sorted(KUBERNETES_TRUE)).flatmap(lambda field: nested(spellings(field), TRUE))
UNCONFINED = nested(
    st.sampled_from(["container.apparmor.security.beta.kubernetes.io/x", "seccomp"]), st.just("Unconfined")
)
BIDIRECTIONAL = nested(st.just("mountPropagation"), st.just("Bidirectional"))


@given(PRESENT | TRUTHY | UNCONFINED | BIDIRECTIONAL)
def test_a_refused_kubernetes_field_is_refused_at_any_depth(overrides: dict[str, Json]) -> None:
    """S16."""
    assert len(check("kubernetes", overrides)) == 1


@given(st.sampled_from(sorted(KUBERNETES_TRUE)).flatmap(lambda field: nested(st.just(field), FALSE)))
def test_switching_a_refused_field_off_is_allowed(overrides: dict[str, Json]) -> None:
    assert check("kubernetes", overrides) == []


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ({"podSpecPatch": "hostNetwork: true"}, "podSpecPatch"),
        ({"resource": {"manifest": "kind: Pod"}}, "resource.manifest"),
        ({"resource": {"manifestFrom": {"artifact": {"raw": {"data": "kind: Pod"}}}}}, "resource.manifestFrom"),
        ({"resource": {"action": "delete", "flags": ["pods", "--all"]}}, "resource"),
        ({"container": {"securityContext": {"privileged": True}}}, "container.securityContext"),
        ({"script": {"env": [{"name": "WANDB_API_KEY", "value": "x"}]}}, "script.env[0].name"),
    ],
)
def test_no_text_that_makes_pods_is_taken_from_a_submitter(template: dict[str, Json], field: str) -> None:
    """Of Argo's Workflow: a submitter's hostPath in it would be seen by nobody."""
    overrides: dict[str, Json] = {"spec": {"templates": [{"name": "main", **template}]}}
    assert fields("kubernetes", overrides) == [f"resource_args.spec.templates[0].{field}"]
    job = {"kind": "Job", "apiVersion": "batch/v1", **overrides}
    assert [problem.field for problem in check_manifest(job, "x")] == [f"x.spec.templates[0].{field}"]


def test_a_resource_that_acts_on_nothing_is_allowed() -> None:
    env = {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
    assert check("kubernetes", {"spec": {"containers": [{"env": [env]}], "metrics": [metric]}}) == []


def test_the_path_and_the_reason_are_named() -> None:
    (problem,) = check("kubernetes", {"spec": {"containers": [{}, {"securityContext": {"privileged": True}}]}})
    assert problem.field == "resource_args.spec.containers[1].securityContext"
    assert "security context" in problem.rule


def test_ordinary_kubernetes_fields_are_allowed() -> None:
    container = {"resources": {"limits": {"cpu": 2}}, "ports": [{"hostPort": 0}], "env": [{"name": "A", "value": "b"}]}
    spec = {"containers": [container], "volumes": [{"emptyDir": {}}], "hostUsers": False, "mountPropagation": "None"}
    assert check("kubernetes", {"kind": "Job", "spec": {"template": {"spec": spec}}}) == []


@given(
    st.sampled_from(RESOURCES), MAPPINGS | st.dictionaries(st.sampled_from(["env", "cpus", "ulimit", "hostPath"]), JSON)
)
def test_any_overrides_are_allowed_or_refused(resource: str, overrides: Any) -> None:
    assert all(problem.field.startswith("resource_args") for problem in check(resource, overrides))


@pytest.mark.parametrize(
    ("resource", "config"), [("local-container", {"privileged": True}), ("kubernetes", {"spec": {"hostNetwork": True}})]
)
def test_the_queues_owner_is_not_limited_and_the_submitter_is_even_where_the_queue_opens(
    resource: str, config: dict[str, Json]
) -> None:
    job = Job(GitSource("https://h/x"))
    queue = Queue("team", "q", resource, config=config, overridable_fields=tuple(config))
    assert resolve(queue, Submission(job, "q", "team", "p")) == config
    refused = problems_of(lambda: resolve(queue, Submission(job, "q", "team", "p", resource_args=config)))
    assert len(refused) == 1
