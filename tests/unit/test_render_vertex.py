"""A run as a CustomJob: the named arguments of Google's SDK, in the words of its REST API."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, attempt, problems_of
from tests.unit.launches import launched

from slipway.model import RunRef
from slipway.render import Surroundings, payload
from slipway.render.surroundings import Project
from slipway.render.vertex import collection, custom_job

PROJECT = Project("proj", "europe-west4")
POOL: dict[str, Any] = {
    "machine_spec": {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1},
    "replica_count": 1,
    "container_spec": {"image_uri": "own:1"},
}


def sent(
    run: Any = None, project: Project = PROJECT, pool: Any = None, spec: Any = None, **changes: Any
) -> dict[str, Any]:
    args = {"spec": {"worker_pool_specs": [pool or POOL], "staging_bucket": "bucket", **(spec or {})}, "run": run or {}}
    return dict(custom_job(launched(resource_args=args, **changes), project)[0])


def refused(**changes: Any) -> dict[str, Any]:
    return problems_of(lambda: sent(**changes))


def container(**changes: Any) -> dict[str, Any]:
    return dict(sent(**changes)["jobSpec"]["workerPoolSpecs"][0]["containerSpec"])


def test_the_arguments_are_in_the_words_of_the_rest_api() -> None:
    """S18."""
    body = sent(run={"service_account": "runs@proj.iam", "enable_web_access": True})
    assert body["displayName"] == "a run"
    (pool,) = body["jobSpec"]["workerPoolSpecs"]
    assert pool["machineSpec"] == {
        "machineType": "n1-standard-4",
        "acceleratorType": "NVIDIA_TESLA_T4",
        "acceleratorCount": 1,
    }
    assert pool["replicaCount"] == 1
    assert body["jobSpec"]["serviceAccount"] == "runs@proj.iam"
    assert body["jobSpec"]["scheduling"] == {"restartJobOnWorkerRestart": False}
    assert body["jobSpec"]["baseOutputDirectory"] == {"outputUriPrefix": "gs://bucket/slipway-item7-1"}


def test_it_is_created_in_the_deployments_project_and_region() -> None:
    assert collection(PROJECT) == "/v1/projects/proj/locations/europe-west4/customJobs"
    assert collection(Project()) == "/v1/projects/PROJECT/locations/REGION/customJobs"
    args = {"spec": {"worker_pool_specs": [POOL], "staging_bucket": "b", "project": "other"}, "run": {"sync": True}}
    _, warnings = custom_job(launched(resource_args=args, secrets={}), PROJECT)
    assert sorted(word.split()[0] for word in warnings) == ["project", "sync"]


def test_pools_and_bucket_are_required_and_told_at_once() -> None:
    """S18."""
    args = {"spec": {"worker_pool_specs": []}}
    problems = problems_of(lambda: custom_job(launched(resource_args=args), PROJECT))
    assert problems.keys() == {"resource_args.spec.worker_pool_specs", "resource_args.spec.staging_bucket"}
    assert "resource_args.gcp-vertex" in problems_of(lambda: custom_job(launched(), PROJECT))


def test_the_command_is_the_jobs_and_its_arguments_in_every_pool() -> None:
    assert container(args=("--lr", "1"))["command"] == ["python", "train.py", "--lr", "1"]
    assert "args" not in container(args=("--lr", "1"))


def test_without_an_entry_point_the_images_own_gets_the_arguments() -> None:
    own = {**POOL, "container_spec": {"image_uri": "own:1", "command": ["own"], "args": ["--own"]}}
    assert "command" not in container(entry_point=(), args=("--lr",))
    assert container(entry_point=(), args=("--lr",))["args"] == ["--lr"]
    found = container(entry_point=(), pool=own)
    assert (found["command"], found["args"]) == (["own"], ["--own"])


@pytest.mark.parametrize("key", ["container_spec", "containerSpec"])
def test_a_container_without_an_image_runs_the_runs(key: str) -> None:
    found = container(pool={key: {"env": [{"name": "A", "value": "b"}]}})
    assert found["imageUri"] == "registry.example.com/team/train:1"
    assert found["env"][0] == {"name": "A", "value": "b"}


def test_who_the_run_is_no_config_changes_and_secrets_are_references() -> None:
    own = {**POOL, "container_spec": {"image_uri": "x", "env": [{"name": "WANDB_RUN_ID", "value": "forged"}]}}
    project = Project("proj", "r", secrets={"WANDB_API_KEY": "projects/p/secrets/k/versions/latest"})
    told = {each["name"]: each["value"] for each in container(pool=own, project=project)["env"]}
    assert told["WANDB_RUN_ID"] == "run7"
    assert json.loads(told["SLIPWAY_SECRETS"]) == {"WANDB_API_KEY": "projects/p/secrets/k/versions/latest"}
    assert len(container(pool=own)["env"]) == len({each["name"] for each in container(pool=own)["env"]})


@pytest.mark.parametrize("kind", ["ACCELERATOR_TYPE_UNSPECIFIED", None])
def test_an_accelerator_that_means_none_is_left_out(kind: str | None) -> None:
    """S18: the default body of W&B's app."""
    machine = {"machine_type": "n1-standard-4", "accelerator_type": kind, "accelerator_count": 0}
    (pool,) = sent(pool={**POOL, "machine_spec": machine})["jobSpec"]["workerPoolSpecs"]
    assert pool["machineSpec"] == {"machineType": "n1-standard-4"}


@given(st.integers(0, 10**9) | st.floats(0, 10**8))
def test_a_duration_is_written_as_protobuf_reads_it(seconds: float) -> None:
    """https://protobuf.dev/reference/protobuf/google.protobuf/#duration"""
    text = sent(run={"timeout": seconds})["jobSpec"]["scheduling"]["timeout"]
    assert re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?s", text)
    assert float(text[:-1]) == pytest.approx(seconds, abs=1e-9)


def test_an_experiment_is_named_whole() -> None:
    found = sent(run={"experiment": "e", "experiment_run": "r"})["jobSpec"]
    store = "projects/proj/locations/europe-west4/metadataStores/default/contexts"
    assert (found["experiment"], found["experimentRun"]) == (f"{store}/e", f"{store}/e-r")
    assert refused(run={"experiment_run": "r"}).keys() == {"resource_args.run.experiment_run"}


def test_labels_say_which_run_it_is() -> None:
    labels = sent(spec={"labels": {"team": "a", "wandb-run-id": "forged"}}, run_id="run_7", run=None)["labels"]
    assert labels == {"team": "a", "wandb-run-id": "run-7", "slipway-item": "item7", "slipway-attempt": "1"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"run": {"timeot": 5}}, "run.timeot"),
        ({"run": {"timeout": "1h"}}, "run.timeout"),
        ({"run": {"timeout": -1}}, "run.timeout"),
        ({"run": {"tensorboard": "t"}}, "run.service_account"),
        ({"spec": {"labels": {"Team": "a"}}}, "spec.labels.Team"),
        ({"spec": {"labels": {"team": 1}}}, "spec.labels.team"),
        ({"spec": {"staging_bucket": 5}}, "spec.staging_bucket"),
        ({"pool": {"machine_spec": {}}}, "spec.worker_pool_specs[0].container_spec"),
        ({"pool": {"container_spec": {"env": {"A": "b"}}}}, "spec.worker_pool_specs[0].container_spec.env"),
        ({"pool": {"container_spec": {"env": [{"name": ["x"]}]}}}, "spec.worker_pool_specs[0].container_spec.env"),
        ({"pool": {"container_spec": {"command": "python x"}}}, "spec.worker_pool_specs[0].container_spec.command"),
        ({"pool": {"container_spec": {"args": [1]}}}, "spec.worker_pool_specs[0].container_spec.args"),
    ],
)
def test_what_vertex_would_refuse_is_refused_with_its_path(changes: dict[str, Any], path: str) -> None:
    assert f"resource_args.{path}" in refused(**changes)


def test_a_misspelled_argument_is_answered_with_the_nearest() -> None:
    assert refused(run={"timeot": 5})["resource_args.run.timeot"].fix == "Did you mean 'timeout'?"


def test_an_attempt_has_a_folder_of_its_own() -> None:
    found = sent(**{"run": None, "spec": {"staging_bucket": "gs://b/"}})
    assert found["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == "gs://b/slipway-item7-1"
    args = {"spec": {"worker_pool_specs": [POOL], "staging_bucket": "b"}}
    again, _ = custom_job(launched(resource_args=args, run=RunRef("item7", 2)), PROJECT)
    assert again["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == "gs://b/slipway-item7-2"


words = st.sampled_from(
    ["spec", "run", "worker_pool_specs", "container_spec", "containerSpec", "image_uri", "env", "name", "command"]
) | st.sampled_from(["staging_bucket", "labels", "timeout", "machine_spec", "service_account", "display_name"])
configs = st.dictionaries(
    words,
    st.recursive(
        JSON, lambda inner: st.dictionaries(words, inner, max_size=3) | st.lists(inner, max_size=2), max_leaves=12
    ),
    max_size=4,
)


@given(configs, configs, st.booleans())
def test_any_config_is_a_body_or_refused_and_is_not_changed(spec: Any, pool: Any, whole: bool) -> None:
    base = {"worker_pool_specs": [{**POOL, **pool}], "staging_bucket": "b"}
    args = {"spec": {**base, **spec}} if whole else {**spec, "spec": base}
    before = copy.deepcopy(args)
    told = launched(resource_args=args)
    found, problems = attempt(lambda: payload("gcp-vertex", told, Surroundings(project=PROJECT)).body)
    assert args == before
    assert all(problem.field.startswith("resource_args") and problem.rule for problem in problems)
    if not problems:
        json.dumps(found)
        for each in found["jobSpec"]["workerPoolSpecs"]:
            told_env = {entry["name"]: entry["value"] for entry in each["containerSpec"]["env"]}
            assert told_env["WANDB_RUN_ID"] == "run7"
