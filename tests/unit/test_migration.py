"""From an agent to queues: the files, and what becomes of each setting (S1 to S12, S21)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.onprem.chart import WANDB_VALUES
from tests.unit.documents import JSON, any_document, attempt
from tests.unit.test_launch_config import AZURE, DOCKER, ECR, EKS, FIELDS, GCP, LIKELY, SAGEMAKER

from slipway.errors import Invalid
from slipway.helm_values import HelmValues, helm_values
from slipway.launch_config import parse_launch_config
from slipway.migration import Migration, Verdict, migrate
from slipway.model import Queue, TemplateVariable, Timeouts
from slipway.queues import parse_queue

PYTORCH = """
kubernetes:
  kind: PyTorchJob
  spec:
    pytorchReplicaSpecs:
      Master:
        replicas: 1
        template:
          spec:
            containers:
              - name: pytorch
                image: '${image_uri}'
                imagePullPolicy: Always
        restartPolicy: Never
      Worker:
        replicas: 2
        template:
          spec:
            containers:
              - name: pytorch
                image: '${image_uri}'
                imagePullPolicy: Always
        restartPolicy: Never
    ttlSecondsAfterFinished: 600
  metadata:
    name: '${run_id}-pytorch-job'
  apiVersion: kubeflow.org/v1
"""
TRAINING_JOB = """
{
  "RoleArn": "<REQUIRED>",
  "ResourceConfig": {"InstanceType": "ml.m4.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 2},
  "OutputDataConfig": {"S3OutputPath": "<REQUIRED>"},
  "StoppingCondition": {"MaxRuntimeInSeconds": 3600}
}
"""
CUSTOM_JOB = """
spec:
  worker_pool_specs:
    - machine_spec:
        machine_type: n1-standard-4
        accelerator_type: ACCELERATOR_TYPE_UNSPECIFIED
        accelerator_count: 0
      replica_count: 1
      container_spec:
        image_uri: ${image_uri}
  staging_bucket: <REQUIRED>
run:
  restart_job_on_worker_restart: false
"""
CONTAINER = {"env": ["WANDB_SILENT=true"], "gpus": "all", "memory": "{{memory}}g"}
VARIABLE = {"type": "integer", "default": 4, "minimum": 1, "maximum": 64}
VALUES = """
agent:
  labels: {}
  apiKey: 'hunter2'
  image: wandb/launch-agent:latest
  imagePullPolicy: Always
  resources:
    limits:
      cpu: 1000m
      memory: 1Gi
namespace: wandb
baseUrl: https://api.wandb.ai
additionalTargetNamespaces:
  - default
  - wandb
launchConfig: |
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
gitCreds: |
  https://me:hunter2@github.com
serviceAccount:
  annotations:
    iam.gke.io/gcp-service-account:
    azure.workload.identity/client-id:
azureStorageAccessKey: ''
"""


def moved(text: str, configs: Any = None, resource: str | None = None, **changes: Any) -> Migration:
    document = {"entity": "vision", **(yaml.safe_load(text) or {}), **changes}
    return migrate(parse_launch_config(document), {} if configs is None else configs, resource=resource)


def queue_of(text: str, config: Any, resource: str | None = None, **changes: Any) -> Queue:
    (draft,) = moved(text, {"train": config}, resource, **changes).drafts
    assert draft.problems == ()
    assert draft.queue is not None
    assert draft.document is not None
    assert parse_queue(draft.document) == draft.queue
    return draft.queue


def refused(config: Any, resource: str | None = None) -> dict[str, str]:
    (draft,) = moved(DOCKER, {"train": config}, resource).drafts
    assert draft.queue is None
    return {problem.field: str(problem) for problem in draft.problems}


def notes(migration: Migration) -> dict[str, tuple[str, str]]:
    return {note.what: (note.verdict.value, note.text) for note in migration.notes}


def test_a_queue_of_an_eks_agent_is_a_copy() -> None:
    """S1, S12, S15."""
    config = yaml.safe_load(PYTORCH)
    assert queue_of(EKS, config) == Queue(
        "vision",
        "train",
        "kubernetes",
        config=config["kubernetes"],
        max_jobs=5,
        builder={"type": "kaniko", "build-context-store": "s3://contexts/launch", "destination": ECR},
    )


@pytest.mark.parametrize(
    ("text", "config", "resource"),
    [(SAGEMAKER, TRAINING_JOB, "sagemaker"), (GCP, CUSTOM_JOB, "gcp-vertex")],
)
def test_the_default_bodies_are_copied(text: str, config: str, resource: str) -> None:
    """S17, S18."""
    body = yaml.safe_load(config.replace("<REQUIRED>", "s3://what/the-owner-says"))
    assert queue_of(text, body, resource).config == body


@pytest.mark.parametrize(
    "document",
    [
        {"resource_args": {"local-container": CONTAINER}, "template_variables": {"memory": {"schema": VARIABLE}}},
        {"resource_type": "local-container", "resource_config": CONTAINER, "template_variables": {"memory": VARIABLE}},
        {
            "resource": "local-container",
            "config": json.dumps({"resource_args": {"local-container": CONTAINER}}),
            "templateVariables": [{"name": "memory", "schema": json.dumps(VARIABLE)}],
            "prioritizationMode": "DISABLED",
        },
    ],
    ids=["the app", "the Python API", "GraphQL"],
)
def test_a_config_is_understood_in_each_of_wandbs_words(document: Any) -> None:
    """S1, S2, S4, S19."""
    queue = queue_of(DOCKER, document)
    assert queue.config == CONTAINER
    assert queue.template_variables == {"memory": TemplateVariable("integer", 4, None, 1, 64)}
    assert not queue.prioritization


def test_what_stands_beside_the_config_is_kept_and_told_of() -> None:
    """S2, S4."""
    links = {"links": [{"label": "runbook", "url": "https://example.com"}]}
    given = {
        "resource": "local-container",
        "config": CONTAINER,
        "template_variables": {"memory": VARIABLE},
        "prioritization_mode": "V0",
        "external_links": links,
    }
    assert queue_of(DOCKER, given).prioritization
    told = notes(moved(DOCKER, {"train": given}))
    assert told["queue train: prioritization"] == ("same", "by priority, then by age")
    assert told["queue train: external links"][0] == "no counterpart"
    assert "memory" in told["queue train: template variables"][1]


def test_without_template_variables_a_submission_changes_what_the_queue_opens() -> None:
    """S3, S4."""
    told = notes(moved(DOCKER, {"train": {"local-container": {}}}))
    assert told["queue train: overrides"][0] == "differs"
    given = {"resource": "local-container", "config": CONTAINER, "template_variables": {"memory": VARIABLE}}
    assert "queue train: overrides" not in notes(moved(DOCKER, {"train": given}))


def test_a_builder_inside_the_config_is_the_queues_and_the_agents_goes_over_it() -> None:
    """S6."""
    config = {"local-container": {"builder": {"accelerator": {"base_image": "tensorflow/tensorflow:latest-gpu"}}}}
    assert queue_of(DOCKER, config).builder == {
        "accelerator": {"base_image": "tensorflow/tensorflow:latest-gpu"},
        "type": "docker",
    }


def test_a_bare_config_needs_a_resource() -> None:
    assert refused(CONTAINER).keys() == {"resource", "resource_args.memory"}
    assert "--resource" in refused({"gpus": "all"})["resource"]
    assert queue_of(DOCKER, {"gpus": "all"}, "local-container").config == {"gpus": "all"}
    assert queue_of(DOCKER, {"local-process": {}}, "local-container").resource == "local-process"
    assert queue_of(DOCKER, None, "local-process").config == {}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"local-container": {"env": "${HOME}"}}, "resource_args.local-container.env"),
        ({"local-container": {"memory": "{{memory}}"}}, "resource_args.local-container.memory"),
        ({"resource": "sagemaker", "config": {"local-container": {}}}, "resource_args"),
        ({"resource": "local-container", "config": 3}, "resource_args"),
        ({"config": {}, "resource_args": {}}, "resource_args"),
        ({"config": {}, "resource": "local-container", "max_job": 1}, "max_job"),
        (
            {"config": {}, "resource": "local-container", "template_variables": [{"schema": "{}"}]},
            "template_variables[0].name",
        ),
        ({"config": {}, "resource": "local-container", "template_variables": [3]}, "template_variables[0]"),
        (
            {"config": {}, "resource": "local-container", "template_variables": [{"name": "x", "schema": "{"}]},
            "template_variables.x.schema",
        ),
    ],
)
def test_a_config_that_cannot_be_a_queue_says_why(config: Any, field: str) -> None:
    """S4, S5."""
    assert field in refused(config)


def test_a_queue_without_its_config_is_not_lost() -> None:
    migration = moved(DOCKER, queues=["train", "big"], configs={"train": {"local-container": {}}})
    assert [draft.name for draft in migration.drafts if draft.queue is None] == ["big"]
    assert "--queue-config big=FILE" in str(migration.drafts[1].problems[0])
    verdict, text = notes(migration)["queue configs"]
    assert (verdict, "Of big:" in text, "Config tab" in text) == ("differs", True, True)


@pytest.mark.parametrize(
    ("queues", "jobs", "verdict", "words"),
    [
        (["train"], 4, "same", "4 of the queue"),
        (["train", "big"], 4, "differs", "up to 8 run at once"),
        (["train", "big"], -1, "same", "no limit"),
        (["train"], 0, "differs", "paused"),
    ],
)
def test_max_jobs_is_an_agents_in_wandb_and_a_queues_here(
    queues: list[str], jobs: int, verdict: str, words: str
) -> None:
    """S7."""
    configs = {name: {"local-container": {}} for name in queues}
    migration = moved("", configs, queues=queues, max_jobs=jobs)
    told = notes(migration)["max_jobs"]
    assert (told[0], words in told[1]) == (verdict, True)
    for draft in migration.drafts:
        assert draft.queue is not None
        assert (draft.queue.max_jobs, draft.queue.paused) == (jobs or 1, jobs == 0)


def test_secure_mode_and_the_stop_timeout_are_the_queues() -> None:
    queue = queue_of(DOCKER, {"local-container": {}}, secure_mode=True, stopped_run_timeout=30)
    assert queue.secure_mode
    assert queue.timeouts == Timeouts(stop=30.0)
    assert queue_of(DOCKER, {"local-container": {}}, stopped_run_timeout=0).timeouts == Timeouts()


def test_what_a_file_does_not_say_is_left_to_the_queues_defaults() -> None:
    assert moved("queues: [train]", {"train": {"local-container": {}}}).drafts[0].document == {
        "name": "train",
        "entity": "vision",
        "resource": "local-container",
        "max_jobs": 1,
        "resource_args": {"local-container": {}},
    }


@pytest.mark.parametrize(
    ("changes", "what", "verdict", "words"),
    [
        ({}, "entity", "same", "vision"),
        ({}, "queues", "same", "train"),
        ({}, "the agent", "no counterpart", "no process polls"),
        ({}, "builder", "same", "docker where there is a docker command, else noop"),
        ({"max_schedulers": 2}, "max_schedulers", "no counterpart", "no scheduler process"),
        ({"verbosity": 2}, "verbosity", "no counterpart", "slipway explain"),
        ({"secure_mode": True}, "secure_mode", "same", "entry point"),
        ({"secure_mode": False}, "secure_mode", "same", "off"),
        ({"stopped_run_timeout": 30}, "stopped_run_timeout", "differs", "timeouts.stop of each queue: 30 s"),
        ({"stopped_run_timeout": 0}, "stopped_run_timeout", "differs", "keeps its default"),
        ({"environment": {"type": "gcp", "project": "p"}}, "environment", "differs", "(p)"),
        ({"environment": {"type": "gcp"}}, "environment.region", "differs", "default of the cloud's SDK"),
        ({"registry": {"type": "ecr", "uri": ECR}}, "registry", "differs", "builder.destination"),
        ({"registry": {"type": "ecr"}}, "registry", "differs", "names no repository"),
        ({"registry": {"uri": ECR}}, "registry", "differs", "W&B ignores a uri without a type"),
        ({"builder": {"destination": ECR}}, "builder.type", "differs", "W&B's agent ends"),
        ({"builder": {"type": "noop"}}, "builder.type", "same", "noop"),
        ({"builder": {"type": "kaniko"}}, "builder.type", "same", "builds in the cluster"),
        ({"builder": {"type": "kaniko"}}, "builder.build-context-store", "differs", "is missing"),
        ({"builder": {"platform": "linux/arm64"}}, "builder.platform", "same", "of each queue"),
        (
            {"builder": {"secret-name": "a", "secret-key": "b"}},
            "builder.secret-name",
            "same",
            "the secret itself stays where it is",
        ),
    ],
)
def test_each_setting_is_told_what_becomes_of_it(changes: dict[str, Any], what: str, verdict: str, words: str) -> None:
    """S7 to S12."""
    told = notes(moved("queues: [train]", **changes))[what]
    assert (told[0], words in told[1]) == (verdict, True)


def test_the_builders_destination_wins_and_an_unknown_registry_is_told_of() -> None:
    """S10."""
    migration = moved(EKS, builder={"type": "docker", "destination": "ghcr.io/team/train"})
    told = [(note.what, note.verdict, note.text) for note in migration.notes]
    assert ("registry", Verdict.SAME, "builder.destination wins over it, as in W&B") in told
    assert any(what == "builder.destination" and "ghcr.io" in text for what, _, text in told)


def test_a_registry_in_another_region_is_told_of() -> None:
    """S9, S10."""
    migration = moved(EKS, environment={"type": "aws", "region": "eu-west-1"})
    assert any("crosses regions" in note.text for note in migration.notes)


def test_azure_moves_with_its_registry() -> None:
    """S9, S10."""
    queue = queue_of(AZURE, {"kubernetes": {"kind": "Job"}})
    assert queue.builder["destination"] == "visionimages.azurecr.io/train"


def test_a_local_process_queue_gets_no_builder_of_images() -> None:
    """S8."""
    assert queue_of(DOCKER, {"local-process": {}}).builder == {}
    assert "local-process" in notes(moved(DOCKER, {"train": {"local-process": {}}}))["builder"][1]


def test_the_values_of_the_helm_chart_hold_a_launch_config_and_no_secret_is_read() -> None:
    """S21."""
    values = helm_values(yaml.safe_load(VALUES))
    assert isinstance(values, HelmValues)
    assert yaml.safe_load(values.config) == yaml.safe_load(EKS)
    assert {note.what: note.verdict.value for note in values.notes} == {
        "agent.apiKey": "differs",
        "agent": "differs",
        "namespace": "differs",
        "baseUrl": "differs",
        "additionalTargetNamespaces": "differs",
        "gitCreds": "differs",
    }
    assert "hunter2" not in str(values.notes)


def test_every_value_of_wandbs_chart_is_known_and_all_but_one_are_values_of_ours() -> None:
    """S21."""
    given = {**yaml.safe_load(WANDB_VALUES.read_text()), "kanikoPvcName": "contexts"}
    given["customCABundle"] = {"configMap": {"name": "authorities", "key": "bundle.pem"}}
    values = helm_values(given)
    assert isinstance(values, HelmValues)
    ours = yaml.safe_load((WANDB_VALUES.parents[2] / "onprem" / "chart" / "values.yaml").read_text())
    told = {note.what.partition(".")[0]: note.verdict for note in values.notes}
    assert {what for what, verdict in told.items() if verdict is Verdict.NONE} == {"volcano"}
    assert told.keys() - {"volcano"} <= ours.keys()
    assert "hunter2" not in str(values.notes)


def test_values_may_hold_a_mapping_and_what_the_chart_gained_since() -> None:
    """S21."""
    values = helm_values(
        {"agentConfig": {"queues": ["train"]}, "tolerations": [{"key": "gpu"}], "agent": {"apiKey": "x"}}
    )
    assert isinstance(values, HelmValues)
    assert values.config == {"queues": ["train"]}
    assert [note.what for note in values.notes] == ["tolerations", "agent.apiKey"]
    assert values.notes[0].text == "is no value of W&B's chart that is known here"
    assert helm_values(yaml.safe_load(EKS)) is None
    with pytest.raises(Invalid, match="must be the text of a launch-config"):
        helm_values({"launchConfig": None})


WORDS = (
    "config",
    "resource",
    "resource_args",
    "template_variables",
    "prioritization_mode",
    "name",
    "schema",
    "kubernetes",
)
CONFIGS = any_document(WORDS, ("kubernetes", "local-container", "{}", "[]", "V0", [{"name": "x", "schema": "{}"}], {}))


@given(any_document(FIELDS, LIKELY), st.dictionaries(st.sampled_from(["train", "a"]), CONFIGS | JSON), st.text())
def test_any_agent_with_any_configs_becomes_queues_or_problems(document: Any, configs: Any, resource: str) -> None:
    config, _ = attempt(lambda: parse_launch_config(document, entity="vision", queues=["train", "a"]))
    if config is None:
        return
    migration = migrate(config, configs, resource=resource)
    assert [draft.name for draft in migration.drafts] == ["train", "a"]
    for draft in migration.drafts:
        assert isinstance(draft.queue, Queue) != bool(draft.problems)
        if draft.document is not None:
            assert parse_queue(json.loads(json.dumps(draft.document))) == draft.queue
    assert all(note.what and note.text for note in migration.notes)


@given(any_document(("launchConfig", "agent", "apiKey", "gitCreds"), ("", {}, "a: 1", None)))
def test_any_values_are_read_or_invalid(document: Any) -> None:
    """S21."""
    values, problems = attempt(lambda: helm_values(document))
    assert values is None or not problems
