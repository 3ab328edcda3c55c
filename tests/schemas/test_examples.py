"""The examples that go to a cloud: their plans are what the cloud's own schemas take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.schemas.sagemaker_model import refusals

from slipway.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_sagemaker_example_plans_a_request_that_aws_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_TRAINING_ROLE", "arn:aws:iam::123456789012:role/training")
    monkeypatch.setenv("SLIPWAY_OUTPUT", "s3://my-bucket/output")
    folder = EXAMPLES / "02-sagemaker"
    files = ("--queue-config", str(folder / "queue.yaml"), "--spec", str(folder / "submission.json"))
    code = main(["plan", *files, "-o", "json"])
    request = json.loads(capsys.readouterr().out)["payload"]["body"]
    assert code == 0
    assert refusals(request) == []
    assert request["ResourceConfig"] == {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    assert request["Environment"]["EPOCHS"] == "3"
    assert request["RoleArn"] == "arn:aws:iam::123456789012:role/training"
