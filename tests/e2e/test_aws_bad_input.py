"""What goes wrong on AWS, from a typing error to a clock: whoever can mend it is told what it is and how, and nothing
is lost meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests import services
from tests.e2e.test_aws_functions import OPEN, QUEUE, SPEC, put_queue, submit
from tests.standins.aws.answers import Refusal, answering
from tests.standins.aws.deployment import ROLE
from tests.standins.aws.json_service import ServiceError
from tests.standins.aws.moto_server import ACCOUNT, HTPASSWD, REGION
from tests.standins.aws.stack import Stack, deployment

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.events import TRAINING
from slipway.model import Topic

DENIED = (
    f"User: arn:aws:sts::{ACCOUNT}:assumed-role/slipway-AdvanceRole/slipway-AdvanceFunction is not authorized to"
    " perform: {action} on resource: {resource} because no identity-based policy allows the {action} action"
)
EXPIRED = "The security token included in the request is expired"
SKEWED = "Signature expired: 20260101T120000Z is now earlier than 20260101T121000Z (20260101T121500Z - 5 min.)"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.oci_registry(tmp_path_factory.mktemp("ecr"), HTPASSWD) as host:
        yield host


@pytest.fixture
def stack(aws: Clients, registry: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with deployment(aws, registry, monkeypatch, **OPEN) as stack:
        put_queue(stack)
        yield stack


@contextmanager
def answers(stack: Stack, service: str, refusal: Refusal) -> Iterator[None]:
    """The functions hear this of every call of the service."""
    with answering(refusal) as url, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", url)
        stack.cool()
        yield
    stack.cool()


def send(stack: Stack, body: str) -> None:
    stack.aws.sqs.send_message(QueueUrl=stack.environment["SLIPWAY_QUEUE_SUBMIT"], MessageBody=body)


def refused(stack: Stack) -> str:
    """Why the one submission failed at its launch."""
    item = submit(stack)
    stack.pump()
    failed = stack.item(item)
    assert (failed["state"], failed["stage"]) == ("failed", "launch")
    return str(failed["reason"])


class TestWhoCalls:
    """Region, credentials, rights, and the time."""

    @pytest.mark.parametrize(
        ("region", "cure"),
        [(None, "Set AWS_REGION"), ("eu west 1", "Mend AWS_REGION, such as eu-west-1")],
        ids=["none", "no such"],
    )
    def test_a_region_that_is_not_set_or_is_none_is_told_with_the_variable(
        self, stack: Stack, monkeypatch: pytest.MonkeyPatch, region: str | None, cure: str
    ) -> None:
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name) if region is None else monkeypatch.setenv(name, region)
        stack.cool()
        status, answer = stack.ask("POST", "/v1/items", SPEC)
        assert (status, cure in answer["error"]["message"]) == (422, True)

    @pytest.mark.parametrize(
        ("code", "words", "cure"),
        [
            ("ExpiredTokenException", EXPIRED, "Renew the AWS credentials"),
            ("InvalidSignatureException", SKEWED, "Set this machine's clock right"),
        ],
        ids=["expired", "clock"],
    )
    def test_what_cannot_be_signed_is_asked_for_again_and_a_message_waits_until_it_can(
        self, stack: Stack, code: str, words: str, cure: str
    ) -> None:
        with answers(stack, "dynamodb", Refusal(400, code, words)):
            status, answer = stack.ask("POST", "/v1/items", SPEC)
            assert status == 503
            assert words in answer["error"]["message"]
            assert cure in answer["error"]["message"]
            send(stack, json.dumps(SPEC))
            stack.pump()
        stack.advance(61)
        stack.pump()
        assert len(stack.sagemaker.jobs) == 1
        assert stack.visible(Topic.SUBMIT, dead=True) == 0

    @pytest.mark.parametrize(
        ("code", "words", "cure"),
        [
            ("ExpiredTokenException", EXPIRED, "Renew the AWS credentials"),
            ("InvalidSignatureException", SKEWED, "Set this machine's clock right"),
        ],
        ids=["expired", "clock"],
    )
    def test_an_item_whose_start_cannot_be_signed_stays_in_line_with_the_reason(
        self, stack: Stack, code: str, words: str, cure: str
    ) -> None:
        stack.sagemaker.inject("CreateTrainingJob", ServiceError(code, words))
        item = submit(stack)
        stack.pump()
        waiting = stack.item(item)
        assert waiting["state"] == "pending"
        assert words in waiting["reason"]
        assert cure in waiting["reason"]
        stack.advance(61)
        stack.tick()
        assert stack.item(item)["state"] == "starting"

    def test_a_right_that_is_missing_is_told_with_the_action_the_role_and_the_line_and_the_message_is_kept(
        self, stack: Stack
    ) -> None:
        table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/slipway"
        words = DENIED.format(action="dynamodb:GetItem", resource=table)
        with answers(stack, "dynamodb", Refusal(400, "AccessDeniedException", words)):
            send(stack, json.dumps(SPEC))
            stack.pump()
        (letter,) = stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]
        line = f'{{"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "{table}"}}'
        assert f"Add to the policy of role slipway-AdvanceRole: {line}" in letter["reason"]
        assert stack.ask("POST", f"/v1/dead-letters/{letter['id']}/redrive")[0] == 204
        stack.pump()
        assert len(stack.sagemaker.jobs) == 1

    def test_a_start_that_is_not_allowed_fails_with_the_line_to_add(self, stack: Stack) -> None:
        job = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/slipway-x-1"
        words = DENIED.format(action="sagemaker:CreateTrainingJob", resource=job)
        stack.sagemaker.inject("CreateTrainingJob", ServiceError("AccessDeniedException", words))
        reason = refused(stack)
        line = f'{{"Effect": "Allow", "Action": "sagemaker:CreateTrainingJob", "Resource": "{job}"}}'
        assert f"Add to the policy of role slipway-AdvanceRole: {line}" in reason

    def test_a_role_that_sagemaker_cannot_assume_is_told_with_the_trust_that_it_lacks(self, stack: Stack) -> None:
        stack.sagemaker.closed_roles.add(ROLE)
        reason = refused(stack)
        assert ROLE in reason
        assert '"Principal": {"Service": "sagemaker.amazonaws.com"}' in reason


class TestWhatIsAskedFor:
    @pytest.mark.parametrize(
        "image", ["docker.io/library/python:3.11", f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/digits:1.0"]
    )
    def test_an_image_that_is_not_in_ecr_here_is_told_with_where_it_belongs(self, stack: Stack, image: str) -> None:
        status, answer = stack.ask("POST", "/v1/items", {**SPEC, "docker": {"docker_image": image}})
        assert status == 201, answer
        stack.pump()
        failed = stack.item(answer["id"])
        assert (failed["state"], failed["stage"]) == ("failed", "launch")
        assert "training image" in failed["reason"]
        assert f"from ECR in its own region, {REGION}: push it there" in failed["reason"]

    def test_an_image_that_is_not_there_is_told_with_what_the_role_needs(self, stack: Stack) -> None:
        stack.sagemaker.missing_images.add(SPEC["docker"]["docker_image"])
        reason = refused(stack)
        assert "Cannot find repository: digits" in reason
        assert "ecr:BatchGetImage" in reason

    def test_a_bucket_of_input_that_is_not_there_is_told(self, stack: Stack) -> None:
        stack.sagemaker.missing_buckets.add("nowhere")
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://nowhere/digits"}}
        channel = {"ChannelName": "train", "DataSource": source}
        put_queue(stack, config={**QUEUE["config"], "InputDataConfig": [channel]})
        reason = refused(stack)
        assert "s3://nowhere/digits" in reason
        assert "s3:ListBucket and s3:GetObject" in reason

    def test_an_instance_type_that_is_not_offered_here_fails_at_once_and_waits_for_no_quota(self, stack: Stack) -> None:
        stack.sagemaker.not_offered.add("ml.m5.large")
        reason = refused(stack)
        assert "ml.m5.large is not available in this region" in reason
        assert f"offers for training in {REGION}" in reason

    def test_the_deployments_bucket_that_is_gone_is_told_by_name(self, stack: Stack) -> None:
        large = {f"table-{number}": "x" * 2000 for number in range(90)}
        put_queue(stack, config={**QUEUE["config"], "HyperParameters": large})
        bucket = stack.environment["SLIPWAY_BUCKET"]
        stack.aws.s3.delete_bucket(Bucket=bucket)
        status, answer = stack.ask("POST", "/v1/items", SPEC)
        assert status == 404
        assert f"s3://{bucket}" in answer["error"]["message"]
        assert "NoSuchBucket" in answer["error"]["message"]


class TestWhatIsTooMuch:
    """API Gateway takes 10 MB and SQS 1 MiB; what is larger never reaches us."""

    def test_a_body_over_the_limit_is_refused_with_where_to_put_it(self, stack: Stack) -> None:
        status, answer = stack.ask("POST", "/v1/items", with_config("x" * (1 << 20)))
        assert (status, "put large data where the job can read it" in answer["error"]["message"]) == (413, True)

    def test_what_the_vendors_job_cannot_hold_is_refused_at_the_submission(self, stack: Stack) -> None:
        status, answer = stack.ask("POST", "/v1/items", with_config("x" * 300_000))
        assert (status, "make it shorter" in answer["error"]["message"]) == (422, True)

    def test_a_message_as_large_as_sqs_takes_is_kept_although_no_reason_fits_beside_it(self, stack: Stack) -> None:
        body = json.dumps(with_config(""))
        send(stack, json.dumps(with_config("x" * ((1 << 20) - len(body) - 1))))
        stack.pump()
        (letter,) = stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]
        assert (letter["topic"], letter["item"]) == ("submit", None)
        kept = stack.ask("GET", f"/v1/dead-letters/{letter['id']}")[1]["message"]
        assert len(kept["overrides"]["run_config"]["text"]) > 1_000_000
        with pytest.raises(stack.aws.sqs.exceptions.ClientError, match="must be shorter"):
            send(stack, json.dumps(with_config("x" * (1 << 20))))


class TestPoison:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("größer", "not JSON"),
            ("null", "a launch spec is a JSON object, not NoneType"),
            ("[]", "a launch spec is a JSON object, not list"),
            ("{}", "queue: is missing. Name the queue to submit to."),
            (json.dumps({**SPEC, "queue": 3}), "queue: must be text (got 3)"),
            (json.dumps({**SPEC, "queue": "sagemakr"}), "Did you mean 'sagemaker'?"),
            ('{"a":' * 5000 + "1" + "}" * 5000, "not JSON: maximum recursion depth"),
        ],
        ids=["words", "null", "list", "empty", "type", "queue", "depth"],
    )
    def test_it_becomes_a_dead_letter_with_its_reason_and_the_next_message_is_worked_on(
        self, stack: Stack, body: str, reason: str
    ) -> None:
        send(stack, body)
        send(stack, json.dumps(SPEC))
        stack.pump()
        (letter,) = stack.ask("GET", "/v1/dead-letters")[1]["dead_letters"]
        assert reason in letter["reason"]
        assert len(stack.sagemaker.jobs) == 1

    def test_an_event_that_is_none_of_ours_changes_nothing_and_fails_nobody(self, stack: Stack) -> None:
        item = submit(stack)
        stack.pump()
        for event in ({}, {"detail-type": "Something Else", "detail": {}}, {"detail-type": TRAINING, "detail": None}):
            assert stack.call("observe", event) is None
        assert stack.item(item)["state"] == "starting"

    def test_messages_of_a_queue_that_is_not_ours_are_left_there(self, stack: Stack) -> None:
        record = {
            "messageId": "m1",
            "receiptHandle": "r1",
            "body": json.dumps(SPEC),
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:of-others",
        }
        answer = stack.call("advance", {"Records": [record]})
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
        assert stack.ask("GET", "/v1/items")[1]["items"] == []


def with_config(text: str) -> dict[str, Any]:
    return {**SPEC, "overrides": {"run_config": {"text": text}}}
