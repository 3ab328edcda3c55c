"""What is sent to Vertex AI, held against Google's own message for a CustomJob (S18).

The REST API takes the JSON form of that message. To parse it is what the API does first: a field that the message does
not have, a value of another type, an unknown name of an enumeration and a duration in other words are refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemas.planned import IMAGE, example, planned, planned_or_refused, printed, specs

from slipway.errors import Invalid
from slipway.render.surroundings import Project, Surroundings

Parse = Callable[[Any], Any]

FILLED = copy.deepcopy(example("vertex.yaml"))
FILLED["spec"]["staging_bucket"] = "team-training"
PROJECT = "projects/123456/locations/us-central1"
FULL = {
    "spec": {
        "display_name": "${run_name}",
        "project": "team-project",
        "location": "us-central1",
        "staging_bucket": "gs://team-training",
        "base_output_dir": "gs://team-training/output",
        "encryption_spec_key_name": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k",
        "labels": {"team": "vision"},
        "worker_pool_specs": [
            {
                "machine_spec": {
                    **{"machine_type": "a2-highgpu-1g", "accelerator_type": "NVIDIA_TESLA_A100"},
                    **{
                        "accelerator_count": 1,
                        "reservation_affinity": {"reservation_affinity_type": "ANY_RESERVATION"},
                    },
                },
                "replica_count": 1,
                "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 200},
                "nfs_mounts": [{"server": "10.0.0.2", "path": "/data", "mount_point": "datasets"}],
                "container_spec": {
                    "image_uri": "${image_uri}",
                    "command": ["python", "-m", "train"],
                    "args": ["--epochs", "3"],
                    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "WANDB_PROJECT", "value": "other"}],
                },
            },
            {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 3,
                "container_spec": {"image_uri": "registry.example.com/worker:1"},
            },
        ],
    },
    "run": {
        "service_account": "train@team-project.iam.gserviceaccount.com",
        "network": "projects/123456/global/networks/private",
        "reserved_ip_ranges": ["range-a"],
        "timeout": 86400,
        "restart_job_on_worker_restart": True,
        "enable_web_access": True,
        "experiment": "digits",
        "experiment_run": "first",
        "tensorboard": f"{PROJECT}/tensorboards/1",
        "sync": False,
        "create_request_timeout": 30.5,
        "disable_retries": True,
        "persistent_resource_id": "cluster-1",
        "scheduling_strategy": "FLEX_START",
        "max_wait_duration": 1800,
    },
}
BUILT = {"uri": "https://git.example.com/team/digits.git", "entry_point": ["python", "train.py"]}
COMMAND = {"overrides": {"entry_point": ["python", "train.py"], "args": ["--epochs", "3"]}}
LONG = {"overrides": {"run_config": {"layers": list(range(20000))}}}

PLANS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the default body": (FILLED, {}),
    "the default body, with a command": (FILLED, COMMAND),
    "the default body, with much config": (FILLED, LONG),
    "an image that is built": (FILLED, BUILT),
    "every argument": (FULL, {"name": "first try"}),
    "every argument, with a command": (FULL, COMMAND),
}


@pytest.fixture(scope="module")
def parse() -> Parse:
    """Imported here, as it takes seconds."""
    from google.cloud.aiplatform_v1.types import CustomJob

    return lambda body: json_format.ParseDict(body, CustomJob.pb(CustomJob()), ignore_unknown_fields=False)


def of_plan(name: str, around: Surroundings | None = None) -> Any:
    config, spec = PLANS[name]
    return planned("gcp-vertex", config, spec, around=around)["body"]


@pytest.mark.parametrize("name", PLANS)
def test_a_planned_custom_job_is_one_that_google_reads(name: str, parse: Parse) -> None:
    """S18. Read and written again it is the same, so nothing of it was lost on the way."""
    body = of_plan(name)
    assert said(json_format.MessageToDict(parse(body))) == said(body)


def said(value: Any) -> Any:
    """A message in JSON without what need not be said: false, and an integer of 64 bits as text."""
    if isinstance(value, dict):
        return {key: said(inner) for key, inner in value.items() if inner is not False}
    if isinstance(value, list):
        return [said(inner) for inner in value]
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def test_what_the_command_line_prints_is_a_custom_job_that_google_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parse: Parse
) -> None:
    """S18: the default body of W&B's app, with what it leaves to its user."""
    file = tmp_path / "queue.yaml"
    file.write_text(yaml.safe_dump(FILLED))
    (pool,) = parse(printed(file, "gcp-vertex", capsys)["body"]).job_spec.worker_pool_specs
    assert (pool.container_spec.image_uri, pool.replica_count) == (IMAGE, 1)


def test_every_argument_arrives_where_the_sdk_would_put_it(parse: Parse) -> None:
    """S18."""
    around = Surroundings(project=Project("team-project", "us-central1", {"WANDB_API_KEY": "projects/p/secrets/s"}))
    message = parse(of_plan("every argument", around))
    job = message.job_spec
    assert message.display_name == "first try"
    assert (job.scheduling.timeout.seconds, job.scheduling.max_wait_duration.seconds) == (86400, 1800)
    assert job.scheduling.Strategy.Name(job.scheduling.strategy) == "FLEX_START"
    assert (job.enable_web_access, job.scheduling.disable_retries) == (True, True)
    assert job.experiment == "projects/team-project/locations/us-central1/metadataStores/default/contexts/digits"
    first, second = job.worker_pool_specs
    assert [each.value for each in first.container_spec.env if each.name == "WANDB_PROJECT"] == ["digits"]
    assert "SLIPWAY_SECRETS" in {each.name for each in second.container_spec.env}
    assert first.machine_spec.accelerator_count == 1


seconds = st.none() | st.integers(-1, 10**13) | st.floats(-1, 10**13)
runs = st.fixed_dictionaries(
    {}, optional={"timeout": seconds, "max_wait_duration": seconds, "restart_job_on_worker_restart": st.booleans()}
)
variables = st.lists(st.fixed_dictionaries({"name": st.text(max_size=8), "value": st.text(max_size=8)}), max_size=3)


@settings(max_examples=150)
@given(spec=specs, run=runs, env=variables)
def test_no_submission_makes_a_custom_job_that_google_cannot_read(
    spec: dict[str, Any], run: dict[str, Any], env: list[Any], parse: Parse
) -> None:
    """S18."""
    config = {**copy.deepcopy(FILLED), "run": run}
    config["spec"]["worker_pool_specs"][0]["container_spec"]["env"] = env
    payload = planned_or_refused("gcp-vertex", config, spec)
    if payload:
        parse(payload["body"])


@settings(max_examples=200)
@given(limit=st.floats(0, 315_576_000_000) | st.integers(0, 315_576_000_000))
def test_a_time_limit_is_the_duration_that_google_reads(limit: float, parse: Parse) -> None:
    """S18. To the nanosecond, which is all that a duration holds."""
    body = planned("gcp-vertex", {**FILLED, "run": {"timeout": limit}})["body"]
    read = parse(body).job_spec.scheduling.timeout
    assert abs(read.seconds + read.nanos / 1e9 - limit) <= max(1e-9, limit * 1e-15)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({**FILLED, "run": {"timeout": 10**12}}, "timeout"),
        ({**FILLED, "run": {"timeout": "1h"}}, "timeout"),
        ({**FILLED, "run": {"scheduling_strategy": "CHEAP"}}, "scheduling_strategy"),
        ({**FILLED, "run": {"enable_web_access": "yes"}}, "enable_web_access"),
        ({**FILLED, "run": {"reserved_ip_ranges": "range-a"}}, "reserved_ip_ranges"),
        ({**FILLED, "run": {"service_account": 7}}, "service_account"),
        ({"spec": {**FILLED["spec"], "display_name": 7}}, "display_name"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_google_cannot_read_is_refused_at_submission(config: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match=field):
        planned("gcp-vertex", config)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("display_nam",), "a"),
        (("jobSpec", "scheduling", "timeout"), "1e+06s"),
        (("jobSpec", "scheduling", "timeout"), 3600),
        (("jobSpec", "scheduling", "restartJobOnWorkerRestart"), "yes"),
        (("jobSpec", "workerPoolSpecs", 0, "machineSpec", "acceleratorType"), "NVIDIA_ABACUS"),
        (("jobSpec", "workerPoolSpecs", 0, "replicaCount"), "one"),
        (("jobSpec", "workerPoolSpecs", 0, "containerSpec", "env"), {"A": "b"}),
        (("jobSpec", "workerPoolSpecs", 0, "containerSpec", "imageURI"), "a"),
        (("labels", "team"), 7),
    ],
)
def test_the_message_refuses_what_the_api_refuses(path: tuple[Any, ...], value: Any, parse: Parse) -> None:
    body: Any = copy.deepcopy(of_plan("the default body"))
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(json_format.ParseError):
        parse(body)
