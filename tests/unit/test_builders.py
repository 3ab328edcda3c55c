"""The builder section of a queue and of a launch-config: one set of keys, each with its rule (S6, S8, S10, S12)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from tests.unit.documents import any_document

from slipway.builders import BUILDERS, KEYS, WANDB_BUILDERS, lacks_context_store, read_builder
from slipway.errors import Problem
from slipway.queues import parse_queue

KANIKO = {
    "type": "kaniko",
    "build-context-store": "s3://contexts/launch",
    "destination": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train",
    "build-job-name": "wandb-image-build",
    "secret-name": "aws-login",
    "secret-key": "credentials",
    "kaniko-image": "gcr.io/kaniko-project/executor:v1.11.0",
    "kaniko-config": {
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"args": ["--cache=false"], "env": [{"name": "MY_ENV_VAR", "value": "my-env-var-value"}]}
                    ]
                }
            }
        }
    },
}


def problems_with(**section: Any) -> dict[str, Problem]:
    problems: list[Problem] = []
    read_builder({key.replace("__", "-"): value for key, value in section.items()}, "builder", problems)
    return {problem.field: problem for problem in problems}


def job(*containers: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


def test_kaniko_as_documented_is_taken() -> None:
    """S12."""
    problems: list[Problem] = []
    assert read_builder(KANIKO, "builder", problems) == KANIKO
    assert problems == []
    queue = parse_queue({"name": "q", "entity": "e", "resource": "kubernetes", "builder": KANIKO})
    assert queue.builder == KANIKO


def test_the_destination_is_kept_without_https() -> None:
    """S10."""
    section = {"destination": "https://myregistry.azurecr.io/my-repo/"}
    assert read_builder(section, "builder", []) == {"destination": "myregistry.azurecr.io/my-repo"}


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_builder_is_one_that_is_known_where_it_stands(kind: str) -> None:
    """S8: W&B knows three, a queue also `environment`."""
    problems: list[Problem] = []
    read_builder({"type": kind}, "builder", problems, types=WANDB_BUILDERS)
    assert (problems == []) == (kind in WANDB_BUILDERS)
    assert problems_with(type=kind) == {}


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    problems = problems_with(build__context__stor="s3://b", uri="registry.example.com/a", accelerator={"image": "a"})
    assert problems["builder.build-context-stor"].fix == "Did you mean 'build-context-store'?"
    assert "Write `destination`" in problems["builder.uri"].fix
    assert problems["builder.accelerator.image"].fix == "Did you mean 'base_image'?"
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"type": "dokcer"}, "type"),
        ({"destination": "registry.example.com/jobs:1"}, "destination"),
        ({"destination": 5}, "destination"),
        ({"platform": "amd64"}, "platform"),
        ({"platform": "linux/amd64/v8/x"}, "platform"),
        ({"base_image": "Python:3.11 slim"}, "base_image"),
        ({"base_image": "python@sha256:12"}, "base_image"),
        ({"accelerator": {"base_image": 5}}, "accelerator.base_image"),
        ({"accelerator": {"base_image": "nvidia/cuda:12 "}}, "accelerator.base_image"),
        ({"accelerator": "nvidia/cuda:12"}, "accelerator"),
        ({"cuda": {"base_image": "#"}}, "cuda.base_image"),
        ({"build-args": ["A=1"]}, "build-args"),
        ({"build_args": {"A": True}}, "build_args.A"),
        ({"build-args": {"A=B": "1"}}, "build-args.A=B"),
        ({"build-context-store": "http://x"}, "build-context-store"),
        ({"build-context-store": "s3://"}, "build-context-store"),
        ({"build-context-store": "https://account.blob.core.windows.net"}, "build-context-store"),
        ({"build-job-name": "Build"}, "build-job-name"),
        ({"build-job-name": "b" * 51}, "build-job-name"),
        ({"secret-name": "a"}, "secret-key"),
        ({"secret-key": "a"}, "secret-name"),
        ({"kaniko-image": "a b"}, "kaniko-image"),
        ({"kaniko-config": []}, "kaniko-config"),
        ({"kaniko-config": {"spec": []}}, "kaniko-config.spec"),
        ({"kaniko-config": job({}, {})}, "kaniko-config.spec.template.spec.containers"),
        ({"kaniko-config": job(1)}, "kaniko-config.spec.template.spec.containers[0]"),
        ({"kaniko-config": job({"args": "--a=b"})}, "kaniko-config.spec.template.spec.containers[0].args"),
        ({"kaniko-config": job({"args": ["--a=b", "--c"]})}, "kaniko-config.spec.template.spec.containers[0].args[1]"),
        ({"type": "buildah", "buildah-image": "a b"}, "buildah-image"),
        ({"type": "buildah", "buildah-config": job({}, {})}, "buildah-config.spec.template.spec.containers"),
        ({"buildah-config": job({"args": ["-q"]})}, "buildah-config.spec.template.spec.containers[0].args[0]"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_with_its_path(section: dict[str, Any], field: str) -> None:
    """S6, S12."""
    assert problems_with(**section).keys() == {f"builder.{field}"}


@pytest.mark.parametrize(
    "section",
    [
        {"platform": "linux/amd64"},
        {"platform": "linux/arm64/v8"},
        {"base_image": "python:3.11-slim"},
        {"accelerator": {"base_image": "tensorflow/tensorflow:latest-gpu"}},
        {"cuda": {"base_image": "nvidia/cuda:12.2.0-base-ubuntu22.04"}},
        {"build-args": {"A": "1", "B": 2}},
        {"build-context-store": "gs://contexts/launch"},
        {"build-context-store": "https://account.blob.core.windows.net/container"},
        {"type": None, "destination": None, "kaniko-config": None},
        {"kaniko-config": {"metadata": {"labels": {"a": "b"}}}},
    ],
)
def test_what_keeps_its_rule_is_taken(section: dict[str, Any]) -> None:
    """S6, S12."""
    assert problems_with(**section) == {}


def test_what_may_be_a_secret_is_in_no_message() -> None:
    secret = "hunter2 hunter2"
    problems = problems_with(
        **{
            "secret-name": secret,
            "secret-key": secret,
            "build-args": {"TOKEN": [secret]},
            "build-context-store": "s3://key:hunter2@minio/contexts",
            "destination": "https://me:hunter2@registry.example.com/jobs",
            "kaniko-config": job({"args": [secret], "env": [{"name": "A", "value": secret}]}),
        }
    )
    assert len(problems) == 6
    assert "hunter2" not in " ".join(str(problem) for problem in problems.values())


def test_kaniko_without_a_bucket_is_noticed_and_taken() -> None:
    """S12: W&B's can take its context from a volume."""
    assert lacks_context_store({"type": "kaniko", "build-context-store": None})
    assert lacks_context_store({"type": "buildah"})
    assert not lacks_context_store(KANIKO)
    assert not lacks_context_store({"type": "docker"})
    assert problems_with(type="kaniko") == {}


@given(any_document((*KEYS, "base_image", "uri", "spec", "template", "containers", "args"), ("docker", "a/b", {}, [])))
def test_any_section_is_read(section: Any) -> None:
    if not isinstance(section, dict):
        return
    problems: list[Problem] = []
    read = read_builder(section, "builder", problems)
    assert json.dumps(read)
    assert all(problem.field.startswith("builder") and problem.rule for problem in problems)
