"""A run as a CreateTrainingJob request: the queue's config is the request, and what it leaves open is filled in."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents import JSON, attempt, problems_of
from tests.unit.launches import launched

from slipway.model import RunRef
from slipway.render import Surroundings, payload
from slipway.render.sagemaker import request
from slipway.render.secrets import starter
from slipway.render.surroundings import Account

ACCOUNT = Account("123456789012")
ARGS: dict[str, Any] = {
    "RoleArn": "arn:aws:iam::123456789012:role/runs",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m4.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


def sent(account: Account = ACCOUNT, args: Any = None, **changes: Any) -> dict[str, Any]:
    """The request; `changes` of the config by its top-level fields, None takes one away."""
    given = {key: changes.pop(key) for key in list(changes) if key[0].isupper() or key in ("role_arn", "region")}
    merged = {key: value for key, value in {**ARGS, **given}.items() if value is not None}
    return dict(request(launched(resource_args=merged, args=args or (), **changes), account)[0])


def refused(account: Account = ACCOUNT, **changes: Any) -> dict[str, Any]:
    return problems_of(lambda: sent(account, **changes))


def test_the_config_is_the_request_and_the_image_and_the_command_are_filled_in() -> None:
    """S17."""
    body = sent(args=("--lr", "1"))
    assert {key: body[key] for key in ARGS} == ARGS
    assert body["TrainingJobName"] == "slipway-item7-1"
    assert body["AlgorithmSpecification"] == {
        "TrainingInputMode": "File",
        "TrainingImage": "registry.example.com/team/train:1",
        "ContainerEntrypoint": ["python", "train.py"],
        "ContainerArguments": ["--lr", "1"],
    }


def test_top_level_fields_have_two_spellings_and_the_vendors_wins() -> None:
    """S17."""
    assert sent(RoleArn=None, role_arn="runs")["RoleArn"] == "arn:aws:iam::123456789012:role/runs"
    assert sent(role_arn="other")["RoleArn"] == ARGS["RoleArn"]
    assert "region" not in sent(region="eu-west-1")


def test_a_roles_name_is_one_of_this_account_and_partition() -> None:
    china = Account("123456789012", "aws-cn", role="runs")
    assert sent(china, RoleArn=None)["RoleArn"] == "arn:aws-cn:iam::123456789012:role/runs"
    assert refused(Account(), RoleArn="runs").keys() == {"resource_args.RoleArn"}
    assert refused(Account(), RoleArn="runs")["resource_args.RoleArn"].fix == "Give the ARN."


def test_everything_that_is_missing_is_told_at_once() -> None:
    """S17: the required fields."""
    problems = refused(RoleArn=None, OutputDataConfig=None, ResourceConfig=None, StoppingCondition=None)
    assert problems.keys() == {
        f"resource_args.{field}" for field in ("RoleArn", "OutputDataConfig", "ResourceConfig", "StoppingCondition")
    }
    assert all("is missing" in problem.rule and problem.fix for problem in problems.values())


@pytest.mark.parametrize("place", ["bucket/prefix", "s3://bucket/prefix"])
def test_output_goes_where_the_deployment_says_when_the_config_does_not(place: str) -> None:
    body = sent(Account("123456789012", output=place), OutputDataConfig=None)
    assert body["OutputDataConfig"] == {"S3OutputPath": "s3://bucket/prefix"}


@pytest.mark.parametrize("own", [{"TrainingImage": "own:1"}, {"AlgorithmName": "arn:aws:x"}])
@pytest.mark.parametrize(("overriding", "command"), [(False, None), (True, ["python", "train.py"])])
def test_an_image_of_the_queues_own_runs_with_the_submissions_command_alone(
    own: dict[str, str], overriding: bool, command: Any
) -> None:
    """S17: provided and custom algorithms."""
    found = sent(AlgorithmSpecification=own, overriding=overriding)["AlgorithmSpecification"]
    assert found.get("TrainingImage") == own.get("TrainingImage")
    assert found.get("ContainerEntrypoint") == command


def test_the_queues_environment_wins_except_for_who_the_run_is() -> None:
    own = {"WANDB_PROJECT": "other", "WANDB_RUN_ID": "forged", "SLIPWAY_ITEM": "forged", "LR": 1}
    environment = sent(Environment=own)["Environment"]
    folder = environment.pop("SLIPWAY_OUTPUT_DIR")
    assert environment == {"WANDB_PROJECT": "other", "WANDB_RUN_ID": "run7", "SLIPWAY_ITEM": "item7", "LR": "1"}
    assert folder == "/opt/ml/output/data"


def test_a_secret_is_told_by_where_it_lies() -> None:
    account = Account("123456789012", secrets={"WANDB_API_KEY": "arn:aws:secretsmanager:x:1:secret:key"})
    told = json.loads(sent(account)["Environment"]["SLIPWAY_SECRETS"])
    assert told == {"WANDB_API_KEY": "arn:aws:secretsmanager:x:1:secret:key"}
    _, warnings = request(launched(resource_args=ARGS), ACCOUNT)
    assert warnings == ("WANDB_API_KEY has no reference in this deployment, so the run does not get it",)


def test_many_references_come_in_pieces_that_sagemaker_takes() -> None:
    known = {f"KEY{number}": f"arn:aws:secretsmanager:eu-west-1:1:secret:{'k' * 80}{number}" for number in range(9)}
    environment = sent(Account("123456789012", secrets=known), secrets={name: name for name in known})["Environment"]
    pieces = [environment[f"SLIPWAY_SECRETS_{index}"] for index in range(3)]
    assert json.loads("".join(pieces)) == known
    assert [len(piece) <= 512 for piece in environment.values()] == [True] * len(environment)


def test_a_run_without_a_network_is_not_told_of_secrets_that_it_cannot_fetch() -> None:
    account = Account("123456789012", secrets={"WANDB_API_KEY": "arn"})
    assert "SLIPWAY_SECRETS" not in sent(account, EnableNetworkIsolation=True)["Environment"]
    assert "SLIPWAY_SECRETS" in sent(account, EnableNetworkIsolation=False)["Environment"]
    _, warnings = request(launched(resource_args={**ARGS, "EnableNetworkIsolation": True}), account)
    assert warnings == ("the run has no network (EnableNetworkIsolation), so it cannot fetch its secrets",)


def test_an_image_of_ours_is_started_through_the_program_that_fetches_secrets_and_no_other_one() -> None:
    """ContainerEntrypoint goes over an image's own entry point, so it has to go through it too."""
    through = (*starter().words, "python", "train.py")
    ours = sent(entry_point=through)["AlgorithmSpecification"]
    assert ours["ContainerEntrypoint"] == ["python3", "-I", "-S", "/opt/slipway/with-secrets.py", "python", "train.py"]
    own = sent(entry_point=through, overriding=True, AlgorithmSpecification={"TrainingImage": "own:1"})
    assert own["AlgorithmSpecification"]["ContainerEntrypoint"] == ["python", "train.py"]


def test_a_name_is_one_per_attempt_and_made_of_what_sagemaker_takes() -> None:
    assert sent(TrainingJobName="my_project-${x}")["TrainingJobName"] == "my-project-x"
    second = sent(TrainingJobName="digits", run=RunRef("item7", 2))
    assert second["TrainingJobName"] == "digits-2"
    assert refused(TrainingJobName="___").keys() == {"resource_args.TrainingJobName"}


@given(st.text(), st.integers(1, 999))
def test_any_name_is_one_that_sagemaker_takes_or_refused(name: str, attempt_number: int) -> None:
    body, problems = attempt(lambda: sent(TrainingJobName=name, run=RunRef("item7", attempt_number)))
    if not problems:
        found = body["TrainingJobName"]
        assert 0 < len(found) <= 63
        assert found.isascii()
        assert found.replace("-", "").isalnum()
        assert not (found.startswith("-"))
        assert not (found.endswith("-"))


def test_ours_are_the_only_tags_of_their_names() -> None:
    """AWS refuses a request in which a key stands twice."""
    own = [{"Key": "team", "Value": "a"}, {"Key": "slipway.item", "Value": "forged"}]
    tags = {each["Key"]: each["Value"] for each in sent(Tags=own)["Tags"]}
    assert tags == {"team": "a", "WandbRunId": "run7", "slipway.item": "item7", "slipway.attempt": "1"}
    assert len(sent(Tags=own)["Tags"]) == 4


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("AlgorithmSpecification", "x", "AlgorithmSpecification"),
        ("AlgorithmSpecification", {"ContainerEntrypoint": 5}, "AlgorithmSpecification.ContainerEntrypoint"),
        ("AlgorithmSpecification", {"ContainerArguments": "--lr 1"}, "AlgorithmSpecification.ContainerArguments"),
        ("AlgorithmSpecification", {"ContainerArguments": ["x"] * 101}, "AlgorithmSpecification.ContainerArguments"),
        ("Environment", {"A": {"b": 1}}, "Environment.A"),
        ("Environment", {"A": "x" * 513}, "Environment.A"),
        ("Environment", {f"A{number}": "x" for number in range(100)}, "Environment"),
        ("Tags", {"a": "b"}, "Tags"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_with_its_path(field: str, value: Any, path: str) -> None:
    entry_point = () if "AlgorithmSpecification" in field else ("python",)
    assert refused(**{field: value}, entry_point=entry_point).keys() == {f"resource_args.{path}"}


words = st.sampled_from(
    ["RoleArn", "role_arn", "AlgorithmSpecification", "TrainingImage", "ContainerEntrypoint", "OutputDataConfig"]
) | st.sampled_from(["Environment", "environment_", "Tags", "Key", "TrainingJobName", "S3OutputPath", "A"])
configs = st.dictionaries(words, JSON | st.dictionaries(words, JSON, max_size=3), max_size=5)


@given(configs, st.booleans())
def test_any_config_is_a_request_or_refused_and_is_not_changed(config: dict[str, Any], whole: bool) -> None:
    given_args = {**(ARGS if whole else {}), **config}
    before = copy.deepcopy(given_args)
    told = launched(resource_args=given_args)
    body, problems = attempt(lambda: payload("sagemaker", told, Surroundings(account=ACCOUNT)).body)
    assert given_args == before
    assert all(problem.field.startswith("resource_args") and problem.rule for problem in problems)
    if not problems:
        assert json.loads(json.dumps(body)) == json.loads(
            json.dumps(payload("sagemaker", told, Surroundings(account=ACCOUNT)).body)
        )
        assert all(value is not None for value in body.values())
        assert body["Environment"]["WANDB_RUN_ID"] == "run7"
