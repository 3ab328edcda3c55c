"""A `slipway up` on a laptop launches to SageMaker: targets do not depend on where Slipway itself runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conditions import eventually
from tests.e2e.one_machine import Machine
from tests.standins.aws.moto_server import ACCOUNT, REGION, environment
from tests.standins.aws.sagemaker import SageMakerStandin

IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/digits:1.0"
QUEUE = {
    "name": "gpu",
    "resource": "sagemaker",
    "config": {
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/training",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    },
}


@pytest.fixture
def sagemaker() -> Iterator[SageMakerStandin]:
    with SageMakerStandin() as standin:
        yield standin


@pytest.fixture
def machine(
    tmp_path: Path, moto: str, sagemaker: SageMakerStandin, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """Its AWS is the stand-in, and moto for the rest."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in environment(moto, sagemaker=sagemaker.url).items():
        monkeypatch.setenv(name, value)
    machine = Machine(tmp_path)
    (tmp_path / "queue.json").write_text(json.dumps(QUEUE))
    try:
        yield machine
    finally:
        machine.stop()


def test_an_image_becomes_a_training_job_that_outlives_the_process(
    machine: Machine, sagemaker: SageMakerStandin
) -> None:
    """S9, S17: boto3's own chain for credentials; a run is found again after a restart."""
    machine.run("queue", "apply", str(machine.root / "queue.json"))
    first = machine.up()
    item = machine.run("submit", "-q", "gpu", "--docker-image", IMAGE, "-a", "--epochs", "-a", "3").stdout.strip()
    name = f"slipway-{item}-1"
    eventually(lambda: name in sagemaker.jobs, within=30)
    (created,) = sagemaker.calls("CreateTrainingJob")
    assert created.body["AlgorithmSpecification"]["ContainerArguments"] == ["--epochs", "3"]
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    sagemaker.finish(name, {"accuracy": 0.97})
    machine.up()
    eventually(lambda: machine.state(item) == "finished", within=30)
    assert machine.json("show", item)["metrics"] == {"accuracy": 0.97}
    assert len(sagemaker.calls("CreateTrainingJob")) == 1


def test_without_credentials_the_item_waits_and_says_so(
    machine: Machine, sagemaker: SageMakerStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    machine.run("queue", "apply", str(machine.root / "queue.json"))
    machine.up()
    item = machine.run("submit", "-q", "gpu", "--docker-image", IMAGE).stdout.strip()
    eventually(lambda: "credentials" in machine.json("show", item)["reason"], within=30)
    assert machine.state(item) == "pending"
    assert sagemaker.jobs == {}
    assert "aws sso login" in machine.run("explain", item).stdout
