"""What AWS and boto3 say, in Slipway's errors: every code that is known, and what a person is told to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore import exceptions as boto
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from tests import services
from tests.standins.aws.answers import Refusal, answering

from slipway.adapters.aws import failures
from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.failures import code_of, failure, of_code, translated, words_of
from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Refused, SlipwayError, Temporary

ROLE = "arn:aws:sts::123456789012:assumed-role/slipway-advance/slipway-advance-fn"
JOB = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/a-job"


def answered(code: str, words: str = "so it is", status: int = 400, operation: str = "StartBuild") -> Exception:
    """As boto3 raises what AWS answers."""
    answer = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, operation)  # type: ignore[arg-type]


def told(error: Exception) -> SlipwayError:
    found = failure(error, "start a build")
    assert found is not None
    return found


class TestCodes:
    @pytest.mark.parametrize(
        ("codes", "kind"),
        [
            (failures.THROTTLED, Refused),
            (failures.CREDENTIALS, Refused),
            (failures.SKEWED, Refused),
            (failures.DENIED, Forbidden),
            (failures.MISSING, NotFound),
            (failures.TIMED_OUT, Temporary),
        ],
    )
    def test_each_known_code_is_one_error_with_awss_words(self, codes: frozenset[str], kind: type[Exception]) -> None:
        assert codes
        for code in codes:
            error = told(answered(code))
            assert type(error) is kind, code
            assert "start a build" in error.message
            assert "so it is" in error.message
            assert code in error.message

    def test_no_code_has_two_meanings(self) -> None:
        sets = [value for name, value in inspect.getmembers(failures) if isinstance(value, frozenset)]
        assert len(sets) == 6
        assert len(frozenset().union(*sets)) == sum(len(each) for each in sets)

    def test_whatever_boto3_tries_again_is_worth_another_try_here(self) -> None:
        """But for a limit of the account, which boto3 takes for throttling because DynamoDB says it so."""
        again = {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES, *TransientRetryableChecker._TRANSIENT_ERROR_CODES}
        assert len(again) > 10
        for code in again - {"LimitExceededException"}:
            assert isinstance(told(answered(code)), Temporary), code

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, Permanent),
            (404, Permanent),
            (409, Permanent),
            (413, Permanent),
            (0, Permanent),
            (408, Temporary),
            (429, Refused),
            (500, Temporary),
            (502, Temporary),
            (503, Temporary),
            (504, Temporary),
        ],
    )
    def test_an_unknown_code_goes_by_its_status(self, status: int, kind: type[Exception]) -> None:
        assert type(told(answered("NeverSeenBefore", status=status))) is kind

    def test_an_entry_of_a_batch_goes_by_the_same_rules(self) -> None:
        assert type(of_code("ThrottlingException", "slower", 400, "acknowledge a message")) is Refused
        assert type(of_code("InternalError", "oh", 500, "acknowledge a message")) is Temporary

    def test_the_code_and_the_words_are_read_off_an_answer_and_off_nothing_else(self) -> None:
        assert (code_of(answered("Oh")), words_of(answered("Oh", "dear"))) == ("Oh", "dear")
        assert (code_of(ValueError("no")), words_of(ValueError("no"))) == ("", "no")


class TestDenials:
    def test_a_denial_names_the_action_the_role_and_the_line_to_add(self) -> None:
        words = (
            f"User: {ROLE} is not authorized to perform: sagemaker:CreateTrainingJob on resource: {JOB} because no"
            " identity-based policy allows the sagemaker:CreateTrainingJob action"
        )
        error = told(answered("AccessDeniedException", words))
        assert isinstance(error, Forbidden)
        assert words in error.message
        line = f'{{"Effect": "Allow", "Action": "sagemaker:CreateTrainingJob", "Resource": "{JOB}"}}'
        assert error.message.endswith(f"Add to the policy of role slipway-advance: {line}")

    @pytest.mark.parametrize(
        ("resource", "expected"),
        [
            (' on resource: "arn:aws:s3:::a-bucket/a/key" because no', '"Resource": "arn:aws:s3:::a-bucket/a/key"}'),
            (" on resource: *", '"Resource": "*"}'),
            ("", '"Resource": "*"}'),
        ],
    )
    def test_the_resource_is_found_however_it_is_written(self, resource: str, expected: str) -> None:
        words = f"User: {ROLE} is not authorized to perform: s3:PutObject{resource}"
        assert told(answered("AccessDenied", words)).message.endswith(expected)

    def test_a_user_is_named_in_full(self) -> None:
        user = "arn:aws:iam::123456789012:user/ada"
        words = f"User: {user} is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/x"
        assert f"the policy of {user}: " in told(answered("AccessDeniedException", words)).message

    def test_what_a_policy_denies_outright_is_not_to_be_allowed_once_more(self) -> None:
        words = (
            f"User: {ROLE} is not authorized to perform: sqs:sendmessage on resource: q with an explicit deny in a"
            " service control policy"
        )
        message = told(answered("AccessDenied", words)).message
        assert "Allow" not in message
        assert "takes sqs:sendmessage away from role slipway-advance" in message

    def test_one_without_details_names_the_call(self) -> None:
        """S3 says no more to a stranger."""
        error = told(answered("AccessDenied", "Access Denied", 403, "PutObject"))
        assert error.message == "not allowed to start a build: Access Denied (AccessDenied of PutObject)"


class TestBoto3:
    """What goes wrong before AWS is asked, or on the way."""

    def test_no_region_is_told_with_where_to_set_it(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(Invalid, match=r"region: no AWS region is set.*Set AWS_REGION"):
            Clients().sqs.list_queues()
        with pytest.raises(Invalid, match="AWS_REGION"):
            assert Clients().region

    @pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
    def test_either_name_of_the_region_will_do(self, aws: Clients, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """boto3 by itself reads the second alone."""
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.setenv(name, "us-west-2")
        assert Clients().region == "us-west-2"
        assert Clients().sqs.meta.region_name == "us-west-2"

    def test_a_region_that_is_set_wins_over_the_environment(self, aws: Clients) -> None:
        assert Clients("us-west-2").sqs.meta.region_name == "us-west-2"

    def test_what_is_no_region_is_refused(self, aws: Clients) -> None:
        with pytest.raises(Invalid, match="region: is no AWS region"):
            assert Clients("eu west 1").sqs

    def test_no_credentials_are_worth_waiting_for(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        for ask in (lambda: Clients().sqs.list_queues(), lambda: Clients().credentials()):
            with pytest.raises(Refused, match="aws sso login") as caught, translated("list queues"):
                ask()
            assert caught.value.retry_after == 60.0

    def test_half_a_pair_of_keys_is_refused_with_the_cure(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(Refused, match="aws configure"), translated("list queues"):
            Clients().sqs.list_queues()

    def test_an_unknown_profile_is_named(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
        with pytest.raises(Invalid, match=r"AWS_PROFILE: .*no-such-profile.*list-profiles"):
            assert Clients().sqs

    def test_a_broken_configuration_is_named(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "config").write_text("[profile\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        with pytest.raises(Invalid, match=str(tmp_path)):
            assert Clients().sqs

    @pytest.mark.parametrize("endpoint", ["localhost:4566", "not an address", "http://"])
    def test_an_address_that_is_none_is_told_with_the_variables_name(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch, endpoint: str
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(Invalid, match=r"AWS_ENDPOINT_URL: .*https://host"):
            assert Clients().sqs

    def test_an_address_where_nobody_listens_is_refused_for_now(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{services.free_port()}")
        with pytest.raises(Refused, match="Check AWS_REGION and the network"), translated("list queues"):
            Clients().sqs.list_queues()

    def test_an_answer_that_is_not_awss_says_where_to_look(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(b"<html>Please log in to this network") as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            with pytest.raises(Temporary, match="AWS_ENDPOINT_URL"), translated("ask who we are"):
                Clients().sts.get_caller_identity()

    def test_a_parameter_that_breaks_the_model_is_named_without_its_value(self, aws: Clients) -> None:
        with pytest.raises(Invalid) as caught, translated("send a message"):
            aws.sqs.send_message(QueueUrl="q", MessageBody={"s3cr3t": "value"}, DelaySeconds="ten", Oh="no")  # type: ignore[arg-type, call-arg]
        rules = [problem.rule for problem in caught.value.problems]
        assert [problem.field for problem in caught.value.problems] == ["resource_args"] * 3
        assert any("MessageBody" in rule and "str" in rule for rule in rules)
        assert any("DelaySeconds" in rule and "int" in rule for rule in rules)
        assert any("Oh" in rule for rule in rules)
        assert "s3cr3t" not in caught.value.message

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (boto.ReadTimeoutError(endpoint_url="https://a"), Temporary),
            (boto.ConnectTimeoutError(endpoint_url="https://a"), Refused),
            (boto.ProxyConnectionError(proxy_url="https://a"), Refused),
            (boto.ConnectionClosedError(endpoint_url="https://a"), Temporary),
            (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), Temporary),
            (boto.SSLError(endpoint_url="https://a", error="CERTIFICATE_VERIFY_FAILED"), Refused),
            (boto.MetadataRetrievalError(error_msg="timed out"), Refused),
            (boto.CredentialRetrievalError(provider="sso", error_msg="expired"), Refused),
            (boto.UnauthorizedSSOTokenError(), Refused),
            (boto.InvalidRegionError(region_name="x y"), Invalid),
            (boto.UnknownServiceError(service_name="a", known_service_names="b"), Permanent),
        ],
    )
    def test_what_breaks_on_the_way_is_known_by_whether_it_can_have_taken_effect(
        self, error: Exception, kind: type[Exception]
    ) -> None:
        found = told(error)
        assert type(found) is kind
        assert found.message


class TestOnTheWire:
    """Read off real answers by the unmodified boto3."""

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (400, "ExpiredTokenException", Refused),
            (403, "RequestExpired", Refused),
            (403, "SignatureDoesNotMatch", Refused),
            (400, "InvalidSignatureException", Refused),
            (400, "ResourceNotFoundException", NotFound),
            (400, "ValidationException", Permanent),
        ],
    )
    def test_a_code_of_a_service_that_speaks_json(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[Exception]
    ) -> None:
        with answering(Refusal(status, code, "so it is")) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", url)
            with pytest.raises(kind, match=f"cannot list projects: so it is \\({code}\\)"), translated("list projects"):
                Clients().codebuild.list_projects()

    def test_a_clock_that_is_wrong_is_told_with_the_cure(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        words = "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z"
        with answering(Refusal(403, "InvalidSignatureException", words)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", url)
            with pytest.raises(Refused, match=r"Set this machine's clock right") as caught, translated("list projects"):
                Clients().codebuild.list_projects()
        assert caught.value.retry_after == 60.0

    @pytest.mark.parametrize(
        ("ask", "said"),
        [
            (lambda aws: aws.s3.get_object(Bucket="no-such-bucket-anywhere", Key="a"), "NoSuchBucket"),
            (lambda aws: aws.s3.head_object(Bucket="no-such-bucket-anywhere", Key="a"), "404"),
            (lambda aws: aws.sqs.get_queue_url(QueueName="no-such-queue"), "NonExistentQueue"),
            (lambda aws: aws.dynamodb.describe_table(TableName="no-such-table"), "ResourceNotFoundException"),
            (lambda aws: aws.ecr.describe_repositories(repositoryNames=["no/such"]), "RepositoryNotFoundException"),
            (lambda aws: aws.ssm.get_parameter(Name="/no/such"), "ParameterNotFound"),
            (lambda aws: aws.secretsmanager.get_secret_value(SecretId="no/such"), "ResourceNotFoundException"),
            (lambda aws: aws.eks.describe_cluster(name="no-such"), "ResourceNotFoundException"),
        ],
    )
    def test_each_services_word_for_what_is_not_there(
        self, aws: Clients, ask: Callable[[Clients], object], said: str
    ) -> None:
        with pytest.raises(NotFound, match=said), translated("look"):
            ask(aws)

    def test_what_is_ours_or_nobodys_passes_as_it_is(self) -> None:
        ours, nobodys = NotFound("gone"), KeyError("a mistake in our own code")
        for error in (ours, nobodys):
            with pytest.raises(type(error)) as caught, translated("look"):
                raise error
            assert caught.value is error

    def test_the_cause_is_chained(self) -> None:
        cause = answered("ThrottlingException")
        with pytest.raises(Refused) as caught, translated("look"):
            raise cause
        assert caught.value.__cause__ is cause


class TestClients:
    def test_another_region_has_clients_of_its_own_and_this_one_these(self, aws: Clients) -> None:
        assert aws.in_region("eu-west-1") is aws
        assert aws.in_region("us-east-1").region == "us-east-1"

    def test_a_client_is_made_once(self, aws: Clients) -> None:
        assert aws.sqs is aws.sqs
        assert aws.credentials().access_key == "AKIAIOSFODNN7EXAMPLE"
