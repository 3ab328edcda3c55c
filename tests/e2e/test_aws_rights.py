"""S14: what the functions ask of AWS, held against what the template allows them. Nothing is used that is not allowed,
and nothing is allowed that is neither used nor explained.

The scenarios are those of `test_aws_functions`, played once more while a recorder listens.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e import aws_rights_table as table
from tests.e2e import test_aws_functions as scenarios
from tests.house.sam_template import ROOT, Deployed
from tests.standins.aws.recorder import Use

BUILDS, PREBUILT = Deployed(), Deployed(BuildsImages="false")
"""One process plays the scenarios for all of these."""
FUNCTIONS = ("submit", "advance", "build", "observe", "tick")


@pytest.fixture(scope="module")
def uses(moto: str, tmp_path_factory: pytest.TempPathFactory) -> set[Use]:
    return table.played(moto, tmp_path_factory.mktemp("rights"), table.all_scenarios())


@pytest.fixture(scope="module")
def uses_of_prebuilt(moto: str, tmp_path_factory: pytest.TempPathFactory) -> set[Use]:
    chosen = [
        scenarios.test_an_image_becomes_a_training_job_and_its_end_is_told_by_its_event,
        scenarios.test_a_quota_keeps_the_item_in_line_with_the_reason_until_there_is_room,
        scenarios.test_a_preempted_spot_run_is_resumed_as_the_next_attempt_of_the_same_run,
    ]
    nothing_built = {"SLIPWAY_CODEBUILD_PROJECT": "", "SLIPWAY_DESTINATION": ""}
    return table.played(moto, tmp_path_factory.mktemp("pre-built"), chosen, **nothing_built)


def test_every_function_was_heard(uses: set[Use]) -> None:
    assert {use.function for use in uses} == set(FUNCTIONS)
    assert len(uses) > 100


def test_nothing_is_used_that_is_not_allowed(uses: set[Use]) -> None:
    assert table.not_allowed(BUILDS, uses) == []


def test_a_deployment_of_images_alone_uses_nothing_that_it_is_not_allowed(uses_of_prebuilt: set[Use]) -> None:
    assert {use.function for use in uses_of_prebuilt} == {"submit", "advance", "observe", "tick"}
    assert table.not_allowed(PREBUILT, uses_of_prebuilt) == []


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each != "build"])
def test_a_deployment_of_images_alone_is_allowed_nothing_more(function: str) -> None:
    allowed, of_builds = ({right[:3] for right in table.rights(each, function)} for each in (PREBUILT, BUILDS))
    assert allowed < of_builds


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_is_allowed_that_is_neither_used_nor_explained(uses: set[Use], function: str) -> None:
    unknown = [row.right for row in table.rows(BUILDS, uses, function) if row.why is None]
    assert unknown == []


def test_every_explanation_is_needed(uses: set[Use]) -> None:
    given = {(row.right.sid, row.right.action) for each in FUNCTIONS for row in table.rows(BUILDS, uses, each)}
    seen = {
        (row.right.sid, row.right.action)
        for each in FUNCTIONS
        for row in table.rows(BUILDS, uses, each)
        if row.why not in table.EXPLAINED.values()
    }
    assert set(table.EXPLAINED) <= given - seen


def test_a_right_that_nobody_uses_would_be_noticed(uses: set[Use]) -> None:
    fewer = {use for use in uses if use.action != "sagemaker:StopTrainingJob"}
    unknown = {row.right.action for row in table.rows(BUILDS, fewer, "tick") if row.why is None}
    assert unknown == {"sagemaker:StopTrainingJob"}


@pytest.mark.parametrize(
    "use",
    [
        Use("tick", "dynamodb:ConditionCheckItem", "${Table.Arn}", "TransactWriteItems"),
        Use("observe", "s3:PutObject", "${Bucket.Arn}/contexts/a.zip", "PutObject"),
        Use("advance", "codebuild:StartBuild", "${BuildProject.Arn}", "StartBuild"),
        Use("tick", "iam:PassRole", "arn:aws:iam::123456789012:role/another", "CreateTrainingJob"),
        Use(
            *("tick", "sagemaker:StopTrainingJob"),
            "arn:${AWS::Partition}:sagemaker:${AWS::Region}:${AWS::AccountId}:training-job/of-others",
            "StopTrainingJob",
        ),
    ],
    ids=lambda use: f"{use.function} {use.action}",
)
def test_a_use_that_is_not_allowed_would_be_noticed(use: Use) -> None:
    assert table.not_allowed(BUILDS, {use}) == [use]


def test_a_payload_that_is_gone_takes_the_right_to_list_the_bucket(uses: set[Use]) -> None:
    """Without it S3 answers 403, and what is gone looks like what is forbidden."""
    asked = {(use.function, use.resource) for use in uses if use.action == "s3:ListBucket"}
    assert asked == {(function, "${Bucket.Arn}") for function in ("submit", "advance", "build")}


def test_no_transaction_checks_a_record_that_it_does_not_write(uses: set[Use]) -> None:
    in_transactions = {use.action for use in uses if use.operation == "TransactWriteItems"}
    assert in_transactions == {"dynamodb:UpdateItem", "dynamodb:DeleteItem"}


def test_the_roles_that_others_take_are_explained() -> None:
    roles = set(BUILDS.of_type("AWS::IAM::Role")) - {f"{each.capitalize()}Role" for each in FUNCTIONS}
    explained = {(role, right.sid) for role in roles for right in table.of_role(BUILDS, role)}
    assert explained == set(table.NOT_OURS)


def test_what_parameters_add_is_explained() -> None:
    assert {(role, right.sid) for role, right, _ in table.added()} == set(table.WITH_KEYS)


def test_the_page_is_the_table(uses: set[Use]) -> None:
    told = Path(ROOT, "docs", "aws-permissions.md").read_text()
    assert told == table.page(uses), "renew it: python -m tests.e2e.aws_rights_table > docs/aws-permissions.md"
