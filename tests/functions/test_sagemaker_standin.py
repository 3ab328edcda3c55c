"""The SageMaker stand-in itself: what it says is what AWS documents, and what it refuses is what AWS refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.functions.test_sagemaker import CONFIG
from tests.standins.aws.moto_server import environment
from tests.standins.aws.sagemaker import SageMakerStandin

IMAGE = {"TrainingInputMode": "File", "TrainingImage": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:1"}


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def sagemaker(events: list[dict[str, Any]]) -> Iterator[SageMakerStandin]:
    with SageMakerStandin(on_event=events.append) as standin:
        yield standin


@pytest.fixture
def client(sagemaker: SageMakerStandin, monkeypatch: pytest.MonkeyPatch) -> Any:
    for key, value in environment(sagemaker.url).items():
        monkeypatch.setenv(key, value)
    return boto3.session.Session().client("sagemaker")


def create(client: Any, name: str = "a", **changes: Any) -> str:
    asked = {**CONFIG, "AlgorithmSpecification": IMAGE, "TrainingJobName": name, **changes}
    return str(client.create_training_job(**asked)["TrainingJobArn"])


def refusal(call: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call()
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def test_the_life_of_a_job_is_the_documented_one(client: Any, sagemaker: SageMakerStandin) -> None:
    create(client)
    sagemaker.advance(60)
    sagemaker.advance(30)
    sagemaker.finish("a", {"loss": 0.5})
    job = client.describe_training_job(TrainingJobName="a")
    passed = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert passed == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(each["StartTime"] <= each["EndTime"] for each in job["SecondaryStatusTransitions"])
    assert job["CreationTime"] < job["TrainingStartTime"] <= job["TrainingEndTime"] == job["LastModifiedTime"]
    assert job["ModelArtifacts"] == {"S3ModelArtifacts": "s3://bucket/prefix/a/output/model.tar.gz"}
    assert job["FinalMetricDataList"][0]["MetricName"] == "loss"
    assert "FailureReason" not in job
    assert job["RoleArn"] == CONFIG["RoleArn"]


def test_a_job_stops_120_seconds_after_it_was_asked_to(client: Any, sagemaker: SageMakerStandin) -> None:
    create(client)
    sagemaker.train("a")
    client.stop_training_job(TrainingJobName="a")
    told = "The request was rejected because the training job is in status"
    again = ("ValidationException", f"{told} Stopping.")
    assert refusal(lambda: client.stop_training_job(TrainingJobName="a")) == again
    sagemaker.advance(119)
    assert sagemaker.jobs["a"].status == "Stopping"
    sagemaker.advance(1)
    assert sagemaker.jobs["a"].status == "Stopped"
    assert refusal(lambda: client.stop_training_job(TrainingJobName="a"))[1] == f"{told} Stopped."


def test_a_name_is_used_for_ever(client: Any, sagemaker: SageMakerStandin) -> None:
    arn = create(client)
    sagemaker.finish("a")
    code, words = refusal(lambda: create(client))
    assert code == "ResourceInUse"
    assert words.endswith(f"already exists ({arn})")


def test_there_is_no_job_that_was_not_created(client: Any) -> None:
    """A ValidationException, whatever the model of the service says."""
    expected = ("ValidationException", "Requested resource not found.")
    assert refusal(lambda: client.describe_training_job(TrainingJobName="b")) == expected
    assert refusal(lambda: client.stop_training_job(TrainingJobName="b")) == expected


def test_a_request_is_held_against_the_model_of_the_service(client: Any, sagemaker: SageMakerStandin) -> None:
    code, words = refusal(lambda: create(client, "no_underscores"))
    assert code == "ValidationException"
    assert "Value 'no_underscores' at 'TrainingJobName' failed to satisfy constraint" in words
    assert not sagemaker.jobs


def test_every_change_is_told_in_eventbridges_envelope(
    client: Any, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html"""
    arn = create(client, Tags=[{"Key": "slipway.item", "Value": "item7"}])
    sagemaker.fail("a", "AlgorithmError: , exit code: 1")
    told = [(each["detail"]["TrainingJobStatus"], each["detail"]["SecondaryStatus"]) for each in events]
    assert told == [("InProgress", "Starting"), ("Failed", "Failed")]
    last = events[-1]
    assert {key: last[key] for key in ("version", "detail-type", "source", "account", "region", "resources")} == {
        "version": "0",
        "detail-type": "SageMaker Training Job State Change",
        "source": "aws.sagemaker",
        "account": "123456789012",
        "region": "eu-west-1",
        "resources": [arn],
    }
    assert last["id"] != events[0]["id"]
    detail = last["detail"]
    assert (detail["TrainingJobName"], detail["TrainingJobArn"]) == ("a", arn)
    assert detail["FailureReason"] == "AlgorithmError: , exit code: 1"
    assert detail["Tags"] == {"slipway.item": "item7"}
    assert isinstance(detail["CreationTime"], int)
    assert [each["Status"] for each in detail["SecondaryStatusTransitions"]] == ["Starting", "Failed"]


def test_jobs_are_listed_page_by_page_newest_first(client: Any, sagemaker: SageMakerStandin) -> None:
    for number in range(5):
        create(client, f"a{number}")
    sagemaker.finish("a3")
    pages = client.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": 2})
    assert [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages] == [
        ["a4", "a3"],
        ["a2", "a1"],
        ["a0"],
    ]
    (done,) = client.list_training_jobs(StatusEquals="Completed")["TrainingJobSummaries"]
    assert done["TrainingJobName"] == "a3"


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ({}, "abc"),
        ({"Filters": [{"Name": "TrainingJobName", "Value": "a"}]}, "a"),
        ({"Filters": [{"Name": "Tags.team", "Operator": "Exists"}]}, "ab"),
        ({"Filters": [{"Name": "Tags.team", "Operator": "NotExists"}]}, "c"),
        ({"Filters": [{"Name": "Tags.team", "Operator": "NotEquals", "Value": "red"}]}, "b"),
        ({"Filters": [{"Name": "TrainingJobStatus", "Operator": "In", "Value": "Completed,Failed"}]}, "c"),
        ({"Filters": [{"Name": "ResourceConfig.InstanceCount", "Operator": "GreaterThan", "Value": "1"}]}, "b"),
        (
            {
                "Operator": "Or",
                "Filters": [{"Name": "TrainingJobName", "Value": "c"}],
                "SubExpressions": [
                    {
                        "Filters": [
                            {"Name": "Tags.team", "Operator": "Equals", "Value": "red"},
                            {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"},
                        ]
                    }
                ],
            },
            "ac",
        ),
        (
            {
                "NestedFilters": [
                    {
                        "NestedPropertyName": "InputDataConfig",
                        "Filters": [{"Name": "InputDataConfig.ChannelName", "Operator": "Contains", "Value": "rain"}],
                    }
                ]
            },
            "c",
        ),
    ],
)
def test_a_search_finds_what_its_expression_says(
    client: Any, sagemaker: SageMakerStandin, expression: dict[str, Any], found: str
) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/digits/"}}
    create(client, "a", Tags=[{"Key": "team", "Value": "red"}])
    create(client, "b", ResourceConfig={**CONFIG["ResourceConfig"], "InstanceCount": 2})
    create(client, "c", InputDataConfig=[{"ChannelName": "training", "DataSource": source}])
    client.add_tags(ResourceArn=sagemaker.jobs["b"].arn, Tags=[{"Key": "team", "Value": "blue"}])
    sagemaker.finish("c")
    results = client.search(Resource="TrainingJob", SearchExpression=expression)["Results"]
    assert "".join(each["TrainingJob"]["TrainingJobName"] for each in results) == found


def test_an_operator_for_numbers_is_refused_of_a_text(client: Any, sagemaker: SageMakerStandin) -> None:
    create(client)
    wanted = {"Filters": [{"Name": "TrainingJobStatus", "Operator": "LessThan", "Value": "Z"}]}
    assert refusal(lambda: client.search(Resource="TrainingJob", SearchExpression=wanted))[0] == "ValidationException"
