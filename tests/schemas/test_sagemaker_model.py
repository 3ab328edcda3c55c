"""What is sent to SageMaker, held against AWS's own model of CreateTrainingJob (S17)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemas.planned import IMAGE, example, planned, planned_or_refused, printed, specs
from tests.schemas.sagemaker_model import refusals

from slipway.errors import Invalid
from slipway.render.surroundings import Account, Surroundings

FILLED = {
    **example("sagemaker.json"),
    "RoleArn": "arn:aws:iam::123456789012:role/service-role/SageMakerExecution",
    "OutputDataConfig": {"S3OutputPath": "s3://team-training/output"},
}
SNAKE = {
    "role_arn": FILLED["RoleArn"],
    "resource_config": FILLED["ResourceConfig"],
    "output_data_config": FILLED["OutputDataConfig"],
    "stopping_condition": FILLED["StoppingCondition"],
    "training_job_name": "${project_name}_${run_id}",
}
OWN_IMAGE = {
    "AlgorithmSpecification": {
        "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1",
        "TrainingInputMode": "Pipe",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
    }
}
FULL = {
    "Environment": {"NCCL_DEBUG": "INFO", "THREADS": 4},
    "Tags": [{"Key": "cost:centre", "Value": "research 7"}],
    "HyperParameters": {"epochs": "3"},
    "EnableManagedSpotTraining": True,
    "CheckpointConfig": {"S3Uri": "s3://team-training/checkpoints"},
    "VpcConfig": {"SecurityGroupIds": ["sg-0123456789abcdef0"], "Subnets": ["subnet-0123456789abcdef0"]},
    "InputDataConfig": [
        {
            "ChannelName": "training",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://team-training/data"}},
        }
    ],
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    "RetryStrategy": {"MaximumRetryAttempts": 2},
    **{"region": "us-east-1", "profile": "training", "EcrRepoName": "train"},
}
BUILT = {"uri": "https://git.example.com/team/digits.git", "entry_point": ["python", "train.py"]}
COMMAND = {"overrides": {"entry_point": ["python", "train.py"], "args": ["--epochs", "3"]}}
CONFIG = {"overrides": {"run_config": {"layers": list(range(3000))}}}

PLANS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the default body": (FILLED, {}),
    "the default body, with a command": (FILLED, COMMAND),
    "words in snake case": (SNAKE, {"project": "My digits!"}),
    "a config in many variables": (FILLED, CONFIG),
    "an image that is built": (FILLED, BUILT),
    "an image of the queue's own": ({**FILLED, **OWN_IMAGE}, BUILT),
    "an image of the queue's own, with a command": ({**FILLED, **OWN_IMAGE}, COMMAND),
    "tags, spot instances, channels and a network": ({**FILLED, **FULL}, COMMAND),
}


def of_plan(name: str) -> Any:
    config, spec = PLANS[name]
    return planned("sagemaker", config, spec)["body"]


@pytest.mark.parametrize("name", PLANS)
def test_a_planned_training_job_is_one_that_aws_takes(name: str) -> None:
    """S17."""
    assert refusals(of_plan(name)) == []


def test_what_the_command_line_prints_is_a_training_job_that_aws_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S17: the default body of W&B's app, with what it leaves to its user."""
    file = tmp_path / "queue.json"
    file.write_text(json.dumps(FILLED))
    payload = printed(file, "sagemaker", capsys)
    assert refusals(payload["body"]) == []
    assert payload["body"]["AlgorithmSpecification"]["TrainingImage"] == IMAGE


def test_what_a_deployment_knows_itself_makes_a_training_job_that_aws_takes() -> None:
    """S17: a role by its name, a bucket for output, and where secrets lie."""
    key = "arn:aws:secretsmanager:us-east-1:123456789012:secret:wandb-Ab12Cd"
    account = Account("123456789012", role="Training", output="team-training", secrets={"WANDB_API_KEY": key})
    config = {name: FILLED[name] for name in ("ResourceConfig", "StoppingCondition")}
    body = planned("sagemaker", config, around=Surroundings(account=account))["body"]
    assert refusals(body) == []
    assert body["RoleArn"] == "arn:aws:iam::123456789012:role/Training"
    assert json.loads(body["Environment"]["SLIPWAY_SECRETS"]) == {"WANDB_API_KEY": key}


def test_a_config_in_many_variables_is_whole() -> None:
    """S17, and the reason of the model's 512: what the run puts together again is what was submitted."""
    environment = of_plan("a config in many variables")["Environment"]
    count = sum(name.startswith("WANDB_CONFIG_") for name in environment)
    chunks = [environment[f"WANDB_CONFIG_{number}"] for number in range(count)]
    assert len(chunks) > 10
    assert json.loads("".join(chunks)) == CONFIG["overrides"]["run_config"]


@pytest.mark.parametrize(
    ("config", "spec", "field"),
    [
        ({}, {"overrides": {"run_config": {"layers": list(range(20000))}}}, "Environment"),
        ({}, {"overrides": {"args": ["x" * 257]}}, "ContainerArguments"),
        ({}, {"overrides": {"args": ["a\nb"]}}, "ContainerArguments"),
        ({}, {"overrides": {"args": [""] * 101}}, "ContainerArguments"),
        ({}, {"overrides": {"entry_point": ["x" * 257]}}, "ContainerEntrypoint"),
        ({"Environment": {"a-b": "c"}}, {}, "Environment"),
        ({"Environment": {"A": "b" * 513}}, {}, "Environment"),
        ({"OutputDataConfig": {"S3OutputPath": "<REQUIRED>"}}, {}, "S3OutputPath"),
        ({"RoleArn": "arn:aws:iam:region:account-id:resource-type/resource-id"}, {}, "RoleArn"),
        ({"TrainingJobName": "${project_name}"}, {"project": "数字"}, "TrainingJobName"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_aws_refuses_is_refused_at_submission(config: dict[str, Any], spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match=field):
        planned("sagemaker", {**FILLED, **config}, spec)


variables = st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers(), max_size=3)


@settings(max_examples=150)
@given(specs, variables, st.none() | st.text(max_size=20))
def test_no_submission_makes_a_training_job_that_aws_refuses(
    spec: dict[str, Any], environment: dict[str, Any], name: str | None
) -> None:
    """S17."""
    config = {**FILLED, "Environment": environment, "TrainingJobName": name}
    payload = planned_or_refused("sagemaker", config, spec)
    assert payload is None or refusals(payload["body"]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("TrainingJobName",), "under_score"),
        (("TrainingJobName",), "n" * 64),
        (("RoleArn",), "SageMakerExecution-by-name"),
        (("OutputDataConfig", "S3OutputPath"), "<REQUIRED>"),
        (("AlgorithmSpecification", "TrainingInputMode"), "Floppy"),
        (("AlgorithmSpecification", "ContainerArguments"), ["a\nb"]),
        (("ResourceConfig", "InstanceType"), "m4.xlarge"),
        (("StoppingCondition", "MaxRuntimeInSeconds"), 0),
        (("StoppingCondition", "MaxRuntimeInSeconds"), "3600"),
        (("Environment",), {"A-B": "c"}),
        (("Environment",), {f"A{number}": "c" for number in range(101)}),
        (("Tags",), [{"Key": "#", "Value": ""}]),
        (("region",), "us-east-1"),
    ],
)
def test_the_model_refuses_what_aws_refuses(path: tuple[str, ...], value: Any) -> None:
    request = copy.deepcopy(of_plan("the default body"))
    inner = request
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert refusals(request)
