"""What a submitter may not set is never in what is sent, however it is spelled and wherever it stands.

From the launch spec to the payload, through the real functions: each test puts a mark where a submitter may not write,
opens what it likes in the queue, and looks for the mark in what the backend would be given.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import attempt, problems_of
from tests.unit.launches import manifests

from slipway.documents import join
from slipway.guardrails import DOCKER_OPTIONS, KUBERNETES_PRESENT, KUBERNETES_TRUE, SAGEMAKER, SERVICES, VERTEX
from slipway.launch import launch
from slipway.model import Item, Queue, TemplateVariable
from slipway.render import Surroundings, payload
from slipway.render.surroundings import Account, Project
from slipway.spec import parse_submission
from slipway.template import placeholders, resolve

MARK = "m4rk3r"
AROUND = Surroundings(account=Account("123456789012", role="runs", output="bucket"), project=Project("p", "r"))
SPEC: dict[str, Any] = {"entity": "team", "project": "digits", "queue": "q", "docker": {"docker_image": "img"}}
TRAINING = {
    "RoleArn": "arn:aws:iam::123456789012:role/owners",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}
CUSTOM = {
    "spec": {"worker_pool_specs": [{"container_spec": {"image_uri": "${image_uri}"}}], "staging_bucket": "bucket"},
    "run": {"service_account": "owner@p.iam"},
}
CONFIGS: dict[str, dict[str, Any]] = {
    "local-container": {"privileged": True, "memory": "1g"},
    "local-process": {},
    "kubernetes": {},
    "sagemaker": TRAINING,
    "gcp-vertex": CUSTOM,
}


def sent(queue: Queue, spec: dict[str, Any]) -> tuple[str, bool]:
    """What the backend would be given, as text, and whether the submission was refused."""

    def through() -> str:
        submission = parse_submission({**SPEC, **spec})
        item = Item(
            id="item",
            submission=submission,
            resource=queue.resource,
            resource_args=resolve(queue, submission),
            run_id="run",
            created_at=0.0,
            image="img",
        )
        found = payload(queue.resource, launch(item), AROUND)
        return json.dumps([found.body, list(found.beside)])

    text, problems = attempt(through)
    return text or "", bool(problems)


def opening(resource: str, overrides: dict[str, Any], config: dict[str, Any] | None = None, **fields: Any) -> Queue:
    """A queue whose owner opens everything that the submission sets."""
    opened = [join("", key) for key in overrides]
    return Queue(
        "team",
        "q",
        resource,
        config=CONFIGS[resource] if config is None else config,
        overridable_fields=(*opened, "additional_services"),
        **fields,
    )


def never_sent(resource: str, overrides: dict[str, Any], config: dict[str, Any] | None = None, **fields: Any) -> None:
    queue = opening(resource, overrides, config, **fields)
    for args in (overrides, {resource: overrides}):
        text, refused = sent(queue, {"resource_args": args})
        assert refused or MARK not in text


def spellings(field: str) -> st.SearchStrategy[str]:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)
    ways = [field, snake, snake.strip("_"), field.lower(), field.upper(), f" {field}", f"{field} ", snake.upper()]
    return st.sampled_from(ways)


marked = st.sampled_from([MARK, {"name": MARK}, {"type": MARK, "path": MARK}, [MARK], [{"name": MARK}]])
around = st.sampled_from(
    ["spec", "template", "containers", "volumes", "jobTemplate", "tasks", "x", "run", "metadata", "labels"]
)


@st.composite
def buried(draw: st.DrawFn, fields: Any, values: st.SearchStrategy[Any] = marked) -> dict[str, Any]:
    """One of the fields in one of its spellings, somewhere within mappings and lists."""
    tree: dict[str, Any] = {draw(st.sampled_from(sorted(fields)).flatmap(spellings)): draw(values)}
    for word in draw(st.lists(around, max_size=5)):
        tree = {word: [{"a": 1}, tree]} if draw(st.booleans()) else {word: tree, "beside": 1}
    return tree


KUBERNETES = {**KUBERNETES_PRESENT, **KUBERNETES_TRUE}


@given(buried(KUBERNETES), manifests)
def test_no_refused_field_of_kubernetes_is_sent_in_any_kind(overrides: dict[str, Any], config: dict[str, Any]) -> None:
    """S16."""
    never_sent("kubernetes", overrides, config)


@given(st.sampled_from(sorted(KUBERNETES)), marked, manifests)
def test_a_list_that_replaces_the_owners_brings_no_refused_field(field: str, value: Any, config: Any) -> None:
    """S3: lists replace, and so a submitter whom the queue lets write containers writes whole ones."""
    container = {"name": "main", "image": "img", field: value}
    for spec in (
        {"containers": [container]},
        {"containers": [{"name": "main"}], "volumes": [{"name": "v", field: value}]},
        {"containers": [{"name": "main", "env": [{"name": "A", "valueFrom": {field: value}}]}]},
    ):
        never_sent("kubernetes", {"spec": {"template": {"spec": spec}}}, config)


@pytest.mark.parametrize(
    "volume",
    [
        {"secret": {"secretName": MARK}},
        {"projected": {"sources": [{"secret": {"name": MARK}}]}},
        {"projected": {"sources": [{"serviceAccountToken": {"path": MARK}}]}},
        {"csi": {"driver": "d", "nodePublishSecretRef": {"name": MARK}}},
        {"azureFile": {"secretName": MARK}},
        {"cephfs": {"secretRef": {"name": MARK}}},
        {"hostPath": {"path": f"/{MARK}"}},
    ],
)
def test_no_volume_of_a_submitter_shows_a_secret_or_the_node(volume: dict[str, Any]) -> None:
    spec = {"containers": [{"name": "c"}], "volumes": [{"name": "v", **volume}]}
    never_sent("kubernetes", {"spec": {"template": {"spec": spec}}})


@given(
    st.text(max_size=8).filter(lambda word: word.strip("-_ ").lower().replace("_", "-") not in DOCKER_OPTIONS)
    | st.sampled_from(["privileged", "v", "volume", "cap-add", "device", "network", "pid", "u", "user", "entrypoint"])
    | st.sampled_from(["--privileged", "-v", "--cap_add", "SECURITY_OPT", "mount", "P", "p", "-P", "ipc", "userns"]),
    st.sampled_from([MARK, f"/{MARK}:/x", [MARK], {MARK: MARK}, {"x": MARK}]),
)
def test_no_option_of_docker_is_sent_but_the_few_that_are_a_submitters(option: str, value: Any) -> None:
    """S19."""
    never_sent("local-container", {option: value})


@given(st.sampled_from(sorted(DOCKER_OPTIONS)), st.lists(st.sampled_from(["--privileged", MARK]), max_size=2))
def test_no_value_of_an_option_becomes_another_option(option: str, value: list[str]) -> None:
    """S19: what stands behind an option is its value, whatever it looks like."""
    text, refused = sent(opening("local-container", {option: value}, {}), {"resource_args": {option: value}})
    words = [] if refused else json.loads(text)[0]
    for index, word in enumerate(words):
        if word == "--privileged":
            assert words[index - 1].lstrip("-") == option


@given(buried(SAGEMAKER))
def test_no_refused_field_of_sagemaker_is_sent(overrides: dict[str, Any]) -> None:
    """S17."""
    never_sent("sagemaker", overrides)


@given(buried(VERTEX))
def test_no_refused_field_of_vertex_is_sent(overrides: dict[str, Any]) -> None:
    """S18."""
    never_sent("gcp-vertex", overrides)


# --- who a run is

identities = st.builds(
    lambda prefix, rest: f"{prefix}{rest}",
    st.sampled_from(["WANDB_", "SLIPWAY_", "wandb_", "Slipway_", " WANDB_"]),
    st.sampled_from(["API_KEY", "RUN_ID", "ENTITY", "ITEM", "BASE_URL", "X"]),
)


@given(identities, manifests)
def test_no_submitter_says_in_a_manifest_who_a_run_is(name: str, config: dict[str, Any]) -> None:
    env = [{"name": "A", "value": "b"}, {"name": name, "value": MARK}]
    for spec in (
        {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}},
        {"tasks": [{"template": {"spec": {"initContainers": [{"env": env}], "containers": [{"name": "c"}]}}}]},
    ):
        never_sent("kubernetes", {"spec": spec}, config)


@given(identities, st.sampled_from(["env", "e", "--env", "ENV"]))
def test_no_submitter_says_in_a_container_or_a_process_who_a_run_is(name: str, option: str) -> None:
    for env in ([f"{name}={MARK}"], {name: MARK}, f"{name}={MARK}"):
        never_sent("local-container", {option: env})
        never_sent("local-process", {option: env})


@given(identities, spellings("Environment"))
def test_no_submitter_says_in_a_training_job_who_a_run_is(name: str, field: str) -> None:
    never_sent("sagemaker", {field: {name: MARK}})


@given(identities, st.sampled_from(["container_spec", "containerSpec"]))
def test_no_submitter_says_in_a_custom_job_who_a_run_is(name: str, field: str) -> None:
    pool = {field: {"image_uri": "x", "env": [{"name": name, "value": MARK}]}}
    never_sent("gcp-vertex", {"spec": {"worker_pool_specs": [pool]}})


# --- services


@given(buried(KUBERNETES), st.sampled_from(sorted(SERVICES)))
def test_no_service_of_a_submitter_has_a_refused_field(tree: dict[str, Any], kind: str) -> None:
    config = {**tree, "apiVersion": "v1", "kind": kind}
    text, refused = sent(opening("kubernetes", {}), {"additional_services": [{"name": "s", "config": config}]})
    assert refused or MARK not in text


@pytest.mark.parametrize(
    "kind", ["ClusterRoleBinding", "RoleBinding", "Secret", "ServiceAccount", "Namespace", "secret", "DaemonSet", None]
)
def test_no_service_grants_rights_or_holds_secrets(kind: str | None) -> None:
    config = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}}
    spec = {**SPEC, "additional_services": [{"config": config}]}
    problems = problems_of(lambda: resolve(opening("kubernetes", {}), parse_submission(spec)))
    assert problems.keys() == {"additional_services[0].config.kind"}
    assert "Deployment" in problems["additional_services[0].config.kind"].fix


def test_services_are_the_queues_to_open() -> None:
    spec = {**SPEC, "additional_services": [{"config": {"kind": "Pod"}}]}
    for queue in (Queue("team", "q", "kubernetes"), Queue("team", "q", "sagemaker", config=TRAINING)):
        assert problems_of(lambda queue=queue: resolve(queue, parse_submission(spec))).keys() == {"additional_services"}


# --- template variables


@given(
    st.sampled_from(["{{%s}}", "{{ %s }}", "${%s}", "x{{%s}}y", "{{", "{%s}}", "$"]),
    st.sampled_from(["secret", "other", "WANDB_API_KEY", "PATH", "run_id"]),
    st.sampled_from(["{{v}}", "a{{v}}b", "{{{v}}}", "{{{{v}}", "${{v}}", "{{v}}{{w}}"]),
    st.booleans(),
)
def test_a_variables_value_opens_nothing(value: str, name: str, written: str, listed: bool) -> None:
    """S4, S5: neither another variable nor anything of the machine that launches."""
    text = value % name if "%" in value else value
    kind = TemplateVariable("array", items=TemplateVariable("string")) if listed else TemplateVariable("string")
    queue = Queue(
        "team",
        "q",
        "kubernetes",
        config={"metadata": {"annotations": {"a": written, "b": "{{secret}}"}}},
        template_variables={
            "v": kind,
            "w": TemplateVariable("string", "}}"),
            "secret": TemplateVariable("string", MARK),
            "other": TemplateVariable("string", "o"),
        },
    )
    told, refused = sent(queue, {"template_variables": {"v": [text] if listed else text}})
    if not refused:
        body = json.loads(told)[0]
        assert placeholders(body) == []
        assert told.count(MARK) == 1
        assert os.environ["PATH"] not in told


@given(st.sampled_from(["{{x}}", "a {{ x }}", "${HOME}", "${WANDB_API_KEY}"]), manifests)
def test_an_override_holds_no_placeholder_and_no_unknown_macro(text: str, config: dict[str, Any]) -> None:
    overrides = {"metadata": {"annotations": {"a": text}}}
    queue = opening(
        "kubernetes", overrides, config, template_variables={"x": TemplateVariable("string", MARK, description="")}
    )
    _, refused = sent(queue, {"resource_args": overrides})
    assert refused


# --- secure mode

COMMAND = [MARK, "-c"]


@pytest.mark.parametrize(
    ("resource", "overrides"),
    [
        ("kubernetes", {"spec": {"template": {"spec": {"containers": [{"command": COMMAND}]}}}}),
        ("kubernetes", {"spec": {"template": {"spec": {"initContainers": [{"image": MARK}]}}}}),
        (
            "kubernetes",
            {
                "spec": {
                    "template": {"spec": {"containers": [{"lifecycle": {"postStart": {"exec": {"command": COMMAND}}}}]}}
                }
            },
        ),
        ("kubernetes", {"spec": {"templates": [{"name": "main", "script": {"source": MARK}}]}}),
        ("local-container", {"command": MARK}),
        ("sagemaker", {"AlgorithmSpecification": {"ContainerEntrypoint": COMMAND}}),
        ("sagemaker", {"algorithm_specification": {"ContainerEntrypoint": COMMAND}}),
        ("gcp-vertex", {"spec": {"worker_pool_specs": [{"container_spec": {"command": COMMAND}}]}}),
        ("gcp-vertex", {"spec": {"worker_pool_specs": [{"containerSpec": {"Command": COMMAND}}]}}),
    ],
)
def test_in_secure_mode_no_submitter_chooses_a_command(resource: str, overrides: dict[str, Any]) -> None:
    queue = opening(resource, overrides, secure_mode=True)
    refused = problems_of(lambda: resolve(queue, parse_submission({**SPEC, "resource_args": overrides})))
    assert any("secure mode" in problem.rule for problem in refused.values())


def test_in_secure_mode_a_submission_overrides_no_entry_point_and_its_services_have_no_command() -> None:
    queue = opening("kubernetes", {}, secure_mode=True)
    spec = {**SPEC, "overrides": {"entry_point": [MARK]}}
    assert problems_of(lambda: resolve(queue, parse_submission(spec))).keys() == {"overrides.entry_point"}
    config = {"kind": "Pod", "spec": {"containers": [{"command": COMMAND}]}}
    spec = {**SPEC, "additional_services": [{"config": config}]}
    problems = problems_of(lambda: resolve(queue, parse_submission(spec)))
    assert problems.keys() == {"additional_services[0].config.spec.containers[0].command"}


def test_in_secure_mode_a_jobs_own_entry_point_runs() -> None:
    queue = opening("kubernetes", {}, secure_mode=True)
    job = {"source_type": "image", "source": {"image": "img", "entrypoint": ["python", MARK]}}
    text, refused = sent(queue, {"docker": None, "job": job, "overrides": {"entry_point": [], "args": ["--lr"]}})
    assert not refused
    assert MARK in text
