"""Secrets of AWS: the secrets contract on Secrets Manager and on Parameter Store, and what is particular to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from tests.contracts.secrets_contract import SecretsContract
from tests.standins.aws.answers import Refusal, answering
from tests.standins.aws.moto_server import unique

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.secrets import AwsSecrets
from slipway.errors import Forbidden, Permanent

NAMES = ("WANDB_API_KEY", "TOKEN", "OTHER")


def as_text(name: str, value: str) -> str:
    """Neither service keeps an empty text: an empty secret is one of a JSON object."""
    return value or json.dumps({name: value})


def as_object(name: str, value: str) -> str:
    """What AWS's console makes of a key and a value."""
    return json.dumps({name: value})


def put_secret(aws: Clients, place: str, text: str) -> None:
    try:
        aws.secretsmanager.create_secret(Name=place, SecretString=text)
    except aws.secretsmanager.exceptions.ResourceExistsException:
        aws.secretsmanager.put_secret_value(SecretId=place, SecretString=text)


def put_parameter(aws: Clients, place: str, text: str) -> None:
    aws.ssm.put_parameter(Name=place, Value=text, Type="SecureString", Overwrite=True)


@pytest.fixture
def places() -> dict[str, str]:
    return {name: unique(f"/slipway/{name}") for name in NAMES}


class OfSecretsManager(SecretsContract):
    written = staticmethod(as_text)

    @pytest.fixture
    def secrets(self, aws: Clients, places: dict[str, str]) -> AwsSecrets:
        return AwsSecrets(aws, places)

    @pytest.fixture
    def keep(self, aws: Clients, places: dict[str, str]) -> Callable[[str, str], None]:
        return lambda name, value: put_secret(aws, places[name], self.written(name, value))


class TestSecretsManager(OfSecretsManager):
    pass


class TestObjectsInSecretsManager(OfSecretsManager):
    written = staticmethod(as_object)


class TestAwsSecretsInParameterStore(SecretsContract):
    @pytest.fixture
    def secrets(self, aws: Clients, places: dict[str, str]) -> AwsSecrets:
        return AwsSecrets(aws, {name: f"ssm:{place}" for name, place in places.items()})

    @pytest.fixture
    def keep(self, aws: Clients, places: dict[str, str]) -> Callable[[str, str], None]:
        return lambda name, value: put_parameter(aws, places[name], as_text(name, value))


class TestReferences:
    @pytest.mark.parametrize("prefix", ["", "ssm:"])
    def test_a_reference_to_what_is_not_there_has_no_value(self, aws: Clients, prefix: str) -> None:
        assert AwsSecrets(aws, {"TOKEN": f"{prefix}/no/such/secret"}).get("TOKEN") is None

    def test_an_arn_is_as_good_as_a_name(self, aws: Clients) -> None:
        arn = aws.secretsmanager.create_secret(Name=unique("token"), SecretString="value")["ARN"]
        assert AwsSecrets(aws, {"TOKEN": arn}).get("TOKEN") == "value"

    @pytest.mark.parametrize(
        ("text", "reference", "expected"),
        [
            ('{"api_key": "a", "other": "b"}', "#api_key", "a"),
            ('{"TOKEN": "a", "other": "b"}', "#TOKEN", "a"),
            ('{"api_key": 17}', "#api_key", "17"),
            ('{"api_key": "a"}', "#no_such_key", None),
            ('{"TOKEN": "a"}', "", "a"),
            ('{"TOKEN": "a", "other": "b"}', "", '{"TOKEN": "a", "other": "b"}'),
            ('{"api_key": "a"}', "", '{"api_key": "a"}'),
            ('["TOKEN"]', "", '["TOKEN"]'),
            ("17", "", "17"),
        ],
    )
    @pytest.mark.parametrize(("prefix", "put"), [("", put_secret), ("ssm:", put_parameter)])
    def test_a_key_of_an_object_is_picked(
        self,
        aws: Clients,
        prefix: str,
        put: Callable[[Clients, str, str], None],
        text: str,
        reference: str,
        expected: str | None,
    ) -> None:
        place = unique("/slipway/object")
        put(aws, place, text)
        assert AwsSecrets(aws, {"TOKEN": f"{prefix}{place}{reference}"}).get("TOKEN") == expected

    def test_a_key_of_what_is_no_object_is_refused_without_showing_it(self, aws: Clients) -> None:
        place = unique("token")
        put_secret(aws, place, "s3cr3t-value")
        with pytest.raises(Permanent, match=f"{place} is no JSON object.*'key'") as caught:
            AwsSecrets(aws, {"TOKEN": f"{place}#key"}).get("TOKEN")
        assert "s3cr3t" not in str(caught.value)

    def test_bytes_that_are_text_are_read_and_others_refused_without_being_shown(self, aws: Clients) -> None:
        good, bad = unique("good"), unique("bad")
        aws.secretsmanager.create_secret(Name=good, SecretBinary="größer".encode())
        aws.secretsmanager.create_secret(Name=bad, SecretBinary=b"s3cr3t\xff")
        secrets = AwsSecrets(aws, {"TOKEN": good, "OTHER": bad})
        assert secrets.get("TOKEN") == "größer"
        with pytest.raises(Permanent, match="UTF-8") as caught:
            secrets.get("OTHER")
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_a_name_without_a_reference_asks_nobody(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(Refusal(400, "AccessDeniedException", "no")) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
            assert AwsSecrets(Clients(), {}).get("TOKEN") is None


class TestFailures:
    @pytest.fixture(params=["", "ssm:"])
    def denied(self, request: pytest.FixtureRequest, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """The reference that may not be read."""
        words = (
            "User: arn:aws:sts::123456789012:assumed-role/slipway-advance/f is not authorized to perform:"
            " secretsmanager:GetSecretValue on resource: token because no identity-based policy allows it"
        )
        with answering(Refusal(400, "AccessDeniedException", words)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", url)
            yield f"{request.param}token"

    def test_a_secret_that_may_not_be_read_is_an_error_with_the_line_to_add(self, denied: str) -> None:
        """Not the same as one that is not there."""
        with pytest.raises(Forbidden, match=r"role slipway-advance.*secretsmanager:GetSecretValue"):
            AwsSecrets(Clients(), {"TOKEN": denied}).get("TOKEN")

    def test_one_that_is_being_deleted_says_so(self, aws: Clients) -> None:
        place = unique("token")
        put_secret(aws, place, "value")
        aws.secretsmanager.delete_secret(SecretId=place)
        with pytest.raises(Permanent, match=r"marked deleted"):
            AwsSecrets(aws, {"TOKEN": place}).get("TOKEN")
