"""What is sent to Kubernetes, held against the strict schemas of its API, 1.25 to 1.37 (S12, S15, S16, S20)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from dulwich import porcelain
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemas.kubernetes_schemas import VERSIONS, NoSchema, check, check_all, pods_of, refusals
from tests.schemas.planned import EXAMPLES, IMAGE, Payload, example, planned, planned_or_refused, printed, specs, words

from slipway.render import kaniko
from slipway.render.surroundings import Cluster, Surroundings

TEMPLATE = {"spec": {"containers": [{"name": "main", "image": "redis:7"}]}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "Cache_of_${run_id}"},
    "spec": {
        "selector": {"matchLabels": {"app": "cache"}},
        "template": {"metadata": {"labels": {"app": "cache"}}, **TEMPLATE},
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "cache"},
    "spec": {"selector": {"app": "cache"}, "ports": [{"port": 6379, "protocol": "TCP"}]},
}
TWO_CONTAINERS = {
    "spec": {
        "activeDeadlineSeconds": 3600,
        "template": {
            "metadata": {"annotations": {"example.com/team": "vision"}},
            "spec": {
                "containers": [
                    {"name": "train", "resources": {"limits": {"nvidia.com/gpu": 1}}},
                    {"name": "sidecar", "image": "busybox:1.36", "securityContext": {"privileged": True}},
                ],
                "initContainers": [{"name": "prepare", "image": "busybox:1.36", "command": ["true"]}],
                "restartPolicy": "OnFailure",
            },
        },
    }
}
HELPERS = {
    **{"namespace": "ml", "configFile": "/kube/config", "context": "prod", "wait_for_ready": True},
    **{"wait_timeout": 60, "group": "batch", "version": "v1", "plural": "jobs"},
}
OVERRIDES = {
    "entry_point": ["python", "train.py"],
    "args": ["--epochs", "3"],
    "run_config": {"layers": list(range(20000))},
    "artifacts": {"data": {"name": "digits"}},
    "files": {"config.yaml": {"lr": 1}},
}
GIT = {"uri": "https://git.example.com/team/digits.git", "overrides": {"entry_point": ["python", "train.py"]}}
ARCHIVE = {"uri": "https://example.com/digits.zip", "sha256": "a" * 64, "entry_point": ["python", "train.py"]}
NOTHING_BUILT = {"type": "noop"}

PLANS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "empty config": ({}, {}, {}),
    "the documented Job": (example("job.yaml"), {}, {}),
    "the documented Job, with a command and much config": (example("job.yaml"), {"overrides": OVERRIDES}, {}),
    "two containers": (TWO_CONTAINERS, {"overrides": OVERRIDES}, {}),
    "words that are W&B's own": (HELPERS, {}, {}),
    "services beside it": ({}, {"additional_services": [{"config": DEPLOYMENT}, {"config": SERVICE}]}, {}),
    "a built image": ({}, GIT, {"type": "docker"}),
    "mounted code of git": (TWO_CONTAINERS, GIT, NOTHING_BUILT),
    "mounted code of an archive": ({}, ARCHIVE, NOTHING_BUILT),
    "mounted code of an image with its command": ({}, {"uri": ARCHIVE["uri"], "sha256": "a" * 64}, NOTHING_BUILT),
    "mounted code in a base image": ({}, {**GIT, "base_image": "python:3.13"}, NOTHING_BUILT),
}
CUSTOM = {"PyTorchJob": ("pytorchjob.yaml", 2), "Volcano": ("volcano.yaml", 2)}

BUILDER = example("kaniko.yaml")
WITH_SECRET = {**BUILDER, "secret-name": "credentials", "secret-key": "config"}
BUILDS: dict[str, tuple[dict[str, Any], kaniko.Place]] = {
    "no secrets": ({}, kaniko.Place()),
    "the documented builder": (BUILDER, kaniko.Place(registry="ecr", region="us-east-1")),
    "a key file for ECR": (WITH_SECRET, kaniko.Place(registry="ecr", region="us-east-1")),
    "a key file for Artifact Registry": (WITH_SECRET, kaniko.Place(registry="gar")),
    "a key file from a Secret with a dot": ({**WITH_SECRET, "secret-name": "team.key"}, kaniko.Place(registry="gar")),
    "Azure": (BUILDER, kaniko.Place(registry="acr", azure_storage=True)),
    "Azure with a key": (WITH_SECRET, kaniko.Place(registry="acr", azure_storage=True)),
    "a login of Docker's, and a claim": (BUILDER, kaniko.Place(docker_config="login", claim="contexts")),
}


def of_plan(name: str) -> Payload:
    config, spec, builder = PLANS[name]
    return planned("kubernetes", config, spec, builder=builder)


def of_build(name: str) -> dict[str, Any]:
    config, place = BUILDS[name]
    image = "registry.example.com/digits:abc"
    arguments = {"COLOUR": "red"}
    return kaniko.job(
        name="build-1", context="s3://c/1.tgz", image=image, config=config, place=place, build_args=arguments
    )


def test_the_schemas_of_every_version_are_there() -> None:
    found = {".".join(version.split(".")[:2]) for version in kubernetes_validate.utils.all_versions()}
    assert set(VERSIONS) <= found


@pytest.mark.parametrize("name", PLANS)
def test_a_planned_job_is_valid_in_every_version(name: str) -> None:
    """S15, S16."""
    payload = of_plan(name)
    assert payload["body"]["kind"] == "Job"
    for manifest in (payload["body"], *payload["beside"]):
        check_all(manifest)


def test_a_job_of_a_cluster_with_names_of_its_own_is_valid_in_every_version() -> None:
    """S16, S20: the chart's Secret, and code on a claim that outlives its pods."""
    cluster = Cluster(namespace="ml", agent="agent-1", secret="wandb-api-key", secret_key="password", code_claim="code")
    around = Surroundings(cluster=cluster)
    check_all(planned("kubernetes", {}, GIT, builder=NOTHING_BUILT, around=around)["body"])


def test_services_are_planned_beside_the_job() -> None:
    """S15."""
    assert [each["kind"] for each in of_plan("services beside it")["beside"]] == ["Deployment", "Service"]


@pytest.mark.parametrize("kind", CUSTOM)
def test_every_pod_of_a_custom_resource_is_valid_in_every_version(kind: str) -> None:
    """S15. Its operator's schema is not Kubernetes' own; that of the pods which the operator creates is."""
    file, templates = CUSTOM[kind]
    payload = planned("kubernetes", example(file), {"overrides": OVERRIDES})
    found = list(pods_of(payload["body"]))
    assert len(found) == templates
    assert not list(refusals(payload["body"]))
    for pod in found:
        check_all(pod)


@pytest.mark.parametrize("name", BUILDS)
def test_a_job_of_kaniko_is_valid_in_every_version(name: str) -> None:
    """S12."""
    check_all(of_build(name))


@pytest.mark.parametrize("file", ["job.yaml", "pytorchjob.yaml"])
def test_what_the_command_line_prints_is_valid(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """S15: the documented examples, as they are."""
    payload = printed(EXAMPLES / file, "kubernetes", capsys)
    assert payload["body"]["metadata"]["namespace"] == ("wandb" if file == "job.yaml" else "default")
    for pod in pods_of(payload["body"]):
        check_all(pod)
        assert {container["image"] for container in pod["spec"]["containers"]} == {IMAGE}


def test_a_fetched_revision_is_what_a_valid_pod_mounts(tmp_path: Path) -> None:
    """S20."""
    (tmp_path / "train.py").write_text("print('trained')\n")
    with porcelain.init(tmp_path) as repository:
        porcelain.add(repository, [str(tmp_path / "train.py")])
        who = b"Test <test@example.org>"
        revision = porcelain.commit(repository, message=b"job", author=who, committer=who).decode()
    spec = {"uri": str(tmp_path), "overrides": {"entry_point": ["python", "train.py"]}}
    body = planned("kubernetes", {}, spec, builder=NOTHING_BUILT, fetch=True)["body"]
    check_all(body)
    assert revision in body["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]


variables = st.lists(
    st.fixed_dictionaries({"name": st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), "value": words}), max_size=3
)


@settings(max_examples=60)
@given(specs, variables, st.sampled_from(VERSIONS))
def test_no_submission_makes_an_invalid_job(spec: dict[str, Any], env: list[dict[str, str]], version: str) -> None:
    """S15, S16."""
    config = {"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}
    services = [{"config": DEPLOYMENT}]
    payload = planned_or_refused("kubernetes", config, {**spec, "additional_services": services})
    for manifest in (payload["body"], *payload["beside"]) if payload else ():
        assert not list(refusals(manifest))
        check(manifest, version)


@settings(max_examples=20)
@given(specs, st.sampled_from(VERSIONS))
def test_no_submission_makes_an_invalid_pod_of_a_custom_resource(spec: dict[str, Any], version: str) -> None:
    """S15."""
    payload = planned_or_refused("kubernetes", example("pytorchjob.yaml"), spec)
    if payload:
        assert not list(refusals(payload["body"]))
        for pod in pods_of(payload["body"]):
            check(pod, version)


def broken(*path: Any, value: Any) -> dict[str, Any]:
    """The planned Job of the documentation with one value changed."""
    body: Any = copy.deepcopy(of_plan("the documented Job")["body"])
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    manifest: dict[str, Any] = body
    return manifest


POD = ("spec", "template", "spec")


@pytest.mark.parametrize(
    "path_and_value",
    [
        (("namespace",), "wandb"),
        (("spec", "backOffLimit"), 0),
        (("spec", "backoffLimit"), "0"),
        (("metadata", "labels", "queue"), 5),
        ((*POD, "containers", 0, "env", 0, "value"), 5),
        ((*POD, "containers", 0, "securityContext", "capabilities", "drop"), "ALL"),
        ((*POD, "containers", 0, "wait_for_ready"), True),
    ],
    ids=lambda each: ".".join(str(step) for step in each[0]),
)
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_schemas_refuse_what_kubernetes_refuses(path_and_value: tuple[tuple[Any, ...], Any], version: str) -> None:
    path, value = path_and_value
    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken(*path, value=value), version)


@pytest.mark.parametrize(
    "path_and_value",
    [
        (("metadata", "name"), "a_b"),
        (("metadata", "name"), "a" * 64),
        (("metadata", "labels", "queue"), "ends-in-"),
        (("spec", "template", "metadata", "labels", "x"), "l" * 64),
        ((*POD, "containers", 0, "name"), "Main"),
        ((*POD, "containers", 0, "image"), ""),
        ((*POD, "containers", 0, "env", 0, "name"), "A B"),
        ((*POD, "containers", 0, "volumeMounts"), [{"name": "nowhere", "mountPath": "/x"}]),
    ],
    ids=lambda each: ".".join(str(step) for step in each[0]),
)
def test_what_no_schema_says_is_looked_at_too(path_and_value: tuple[tuple[Any, ...], Any]) -> None:
    path, value = path_and_value
    assert list(refusals(broken(*path, value=value)))


def test_a_manifest_without_a_schema_is_a_failure_and_no_skip() -> None:
    body = planned("kubernetes", example("pytorchjob.yaml"))["body"]
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        check(body, VERSIONS[-1])
    with pytest.raises((NoSchema, kubernetes_validate.utils.VersionNotSupportedError)):
        check(of_plan("empty config")["body"], "1.38")
