"""W&B Launch's agent configuration, read whole (S7 to S10, S12)."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import any_document, attempt, problems_of

from slipway.launch_config import Environment, LaunchConfig, Registry, parse_launch_config

EKS = """
queues:
  - train
max_jobs: 5
environment:
  type: aws
  region: us-east-1
registry:
  type: ecr
  uri: 123456789012.dkr.ecr.us-east-1.amazonaws.com/train
builder:
  type: kaniko
  build-context-store: s3://contexts/launch
"""
SAGEMAKER = """
max_jobs: -1
queues:
  - train
environment:
  type: aws
  region: us-east-1
registry:
  type: ecr
  uri: 123456789012.dkr.ecr.us-east-1.amazonaws.com/train
builder:
  type: docker
"""
GCP = """
queues: [train]
environment:
  type: gcp
  region: us-central1
  project: vision
builder:
  type: kaniko
  destination: us-central1-docker.pkg.dev/vision/images/train
  build-context-store: gs://contexts/launch
"""
AZURE = """
queues: [train]
environment:
  type: azure
builder:
  type: kaniko
  destination: https://visionimages.azurecr.io/train
  build-context-store: https://visionstore.blob.core.windows.net/contexts
"""
VERTEX = """
max_jobs: 3
queues:
  - train
"""
DOCKER = """
max_jobs: 2
queues:
  - train
builder:
  type: docker
"""
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train"
FIELDS = (
    *("entity", "queues", "queue", "max_jobs", "max_schedulers", "secure_mode", "registry", "environment", "builder"),
    *("verbosity", "stopped_run_timeout", "base_url", "type", "uri", "region", "project", "account_id", "repo_name"),
    *("repository", "image-name", "destination", "build-context-store"),
)
LIKELY: tuple[Any, ...] = ("ecr", "gcr", "aws", "gcp", "kaniko", ECR, "train", ["a"], [], {}, 1, -1, 0, "7", True)


def accepted(text: str = "", /, **changes: Any) -> LaunchConfig:
    return parse_launch_config({"entity": "vision", "queues": ["train"], **(yaml.safe_load(text) or {}), **changes})


def refused(**changes: Any) -> dict[str, Any]:
    return problems_of(lambda: parse_launch_config({"entity": "vision", "queues": ["train"], **changes}))


def test_the_agent_of_an_eks_cluster_with_kaniko() -> None:
    """S7, S9, S10, S12."""
    assert accepted(EKS) == LaunchConfig(
        entity="vision",
        queues=("train",),
        max_jobs=5,
        environment=Environment("aws", "us-east-1"),
        registry=Registry("ecr", ECR),
        builder={"type": "kaniko", "build-context-store": "s3://contexts/launch"},
        destination=ECR,
        given=frozenset({"entity", "queues", "max_jobs", "environment", "registry", "builder"}),
    )


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        (SAGEMAKER, ECR),
        (GCP, "us-central1-docker.pkg.dev/vision/images/train"),
        (AZURE, "visionimages.azurecr.io/train"),
        (VERTEX, None),
        (DOCKER, None),
    ],
)
def test_the_documented_agents_are_understood(text: str, destination: str | None) -> None:
    """S7, S10."""
    assert accepted(text).destination == destination


def test_the_defaults_are_those_of_wandb() -> None:
    """S7."""
    config = accepted()
    assert (config.max_jobs, config.max_schedulers, config.verbosity, config.stopped_run_timeout) == (1, 1, 0, 60)
    assert (config.secure_mode, config.environment, config.registry, config.builder) == (False, None, None, {})


def test_the_command_line_wins_over_the_file() -> None:
    """S7."""
    document = {"entity": "vision", "queues": ["a"], "queue": "b", "max_jobs": "many"}
    config = parse_launch_config(document, entity="speech", queues=("q1", "q2", "q1"), max_jobs=5)
    assert (config.entity, config.queues, config.max_jobs) == ("speech", ("q1", "q2"), 5)


def test_the_command_line_is_enough() -> None:
    """S7."""
    assert parse_launch_config(None, entity="vision", queues=["train"]).queues == ("train",)


def test_a_single_queue_is_one_more() -> None:
    """S7."""
    assert accepted(queue="big").queues == ("train", "big")
    assert accepted(queues=None, queue="big").queues == ("big",)
    assert refused(queue=["big"]).keys() == {"queue"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entity": None}, "entity"),
        ({"entity": "a/b"}, "entity"),
        ({"queues": None}, "queues"),
        ({"queues": []}, "queues"),
        ({"queues": "train"}, "queues"),
        ({"queues": ["train", 3]}, "queues[1]"),
        ({"queues": [None]}, "queues[0]"),
        ({"queues": ["a/b"]}, "queues[0]"),
        ({"max_schedulers": -2}, "max_schedulers"),
        ({"secure_mode": "yes"}, "secure_mode"),
        ({"verbosity": -1}, "verbosity"),
        ({"stopped_run_timeout": -1}, "stopped_run_timeout"),
        ({"stopped_run_timeout": "1h"}, "stopped_run_timeout"),
        ({"environment": "aws"}, "environment"),
        ({"environment": {"region": "us-east-1"}}, "environment.type"),
        ({"environment": {"type": "azur"}}, "environment.type"),
        ({"environment": {"type": "aws", "regoin": "us-east-1"}}, "environment.regoin"),
        ({"registry": {"type": "ecrr"}}, "registry.type"),
        ({"registry": {"type": "ecr", "uri": f"{ECR}:1"}}, "registry.uri"),
        ({"registry": {"type": "ecr", "uri": "ghcr.io/team/train"}}, "registry.uri"),
        ({"registry": {"type": "ecr", "uri": ECR, "region": "us-east-1"}}, "registry.uri"),
        ({"registry": {"type": "ecr", "account_id": "1", "region": "us-east-1"}}, "registry.repo_name"),
        ({"registry": {"type": "acr", "repository": "train"}}, "registry.repository"),
        ({"builder": {"type": "environment"}}, "builder.type"),
        ({"builder": {"destination": f"{ECR}:1"}}, "builder.destination"),
        ({"builder": {"type": "kaniko", "build-context-store": "http://x"}}, "builder.build-context-store"),
    ],
)
def test_a_mistake_is_told_with_its_path(changes: dict[str, Any], field: str) -> None:
    """S7, S9, S10, S12."""
    assert refused(**changes).keys() == {field}


@pytest.mark.parametrize(("value", "jobs"), [(7, 7), ("7", 7), (" 7 ", 7), (-1, -1), ("-1", -1), (0, 0), (3.0, 3)])
def test_max_jobs_is_a_number_also_in_quotes(value: object, jobs: int) -> None:
    """S7."""
    assert accepted(max_jobs=value).max_jobs == jobs


@pytest.mark.parametrize("value", [-2, "-2", "many", "", 1.5, True, [], "9" * 5000])
def test_any_other_max_jobs_is_refused(value: object) -> None:
    """S7."""
    assert refused(max_jobs=value).keys() == {"max_jobs"}


@pytest.mark.parametrize(
    ("key", "words"),
    [("base_url", "WANDB_BASE_URL"), ("project", "slipway submit -p"), ("runner", "resource_args")],
)
def test_a_setting_that_was_never_one_is_told_where_it_goes(key: str, words: str) -> None:
    assert words in refused(**{key: "x"})[key].fix


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    assert refused(max_job=3)["max_job"].fix == "Did you mean 'max_jobs'?"


def test_azure_needs_no_region_and_the_others_have_a_default() -> None:
    """S9."""
    for kind in ("aws", "gcp", "azure"):
        assert accepted(environment={"type": kind}).environment == Environment(kind)
    assert accepted(environment={}).environment is None


def test_the_long_forms_of_a_registry_become_one_address() -> None:
    """S10."""
    ecr = {"type": "ecr", "account_id": "123456789012", "region": "us-east-1", "repo_name": "train"}
    gar = {"type": "gcr", "region": "us", "repository": "images", "image-name": "train"}
    assert accepted(registry=ecr).destination == ECR
    assert accepted(registry={**gar, "project": "p"}).destination == "us-docker.pkg.dev/p/images/train"
    environment = {"type": "gcp", "project": "vision"}
    assert accepted(registry=gar, environment=environment).destination == "us-docker.pkg.dev/vision/images/train"
    assert refused(registry=gar).keys() == {"registry.project"}


def test_the_builders_destination_wins_over_the_registry() -> None:
    """S10."""
    config = accepted(EKS, builder={"type": "docker", "destination": "https://ghcr.io/team/train"})
    assert config.destination == "ghcr.io/team/train"
    assert config.registry == Registry("ecr", ECR)
    assert config.builder == {"type": "docker"}


def test_a_registry_may_name_nothing() -> None:
    """S10: W&B takes it, and has nowhere to push to."""
    assert accepted(registry={"type": "ecr"}).destination is None
    assert accepted(registry={"type": None, "uri": "ghcr.io/team/train"}).destination == "ghcr.io/team/train"


def test_all_mistakes_are_told_together() -> None:
    problems = problems_of(
        lambda: parse_launch_config(
            {"max_jobs": -3, "runner": {}, "builder": {"type": "k"}, "environment": {"type": "x"}, "secure_mode": 1}
        )
    )
    assert problems.keys() == {
        *("runner", "entity", "queues", "max_jobs", "builder.type", "environment.type", "secure_mode")
    }


@given(any_document(FIELDS, LIKELY), st.none() | st.text(), st.lists(st.text(), max_size=2), st.none() | st.integers())
def test_any_value_is_a_launch_config_or_invalid(
    document: Any, entity: str | None, queues: list[str], max_jobs: int | None
) -> None:
    config, problems = attempt(lambda: parse_launch_config(document, entity=entity, queues=queues, max_jobs=max_jobs))
    assert isinstance(config, LaunchConfig) != bool(problems)
    assert all(problem.field and problem.rule and str(problem) for problem in problems)
