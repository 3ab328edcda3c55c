"""Secrets by reference: a name of Slipway's → a secret of Secrets Manager, or a parameter of Parameter Store.

A value is asked for each time it is needed, so that one which was rotated counts at once, and none is kept in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from slipway.adapters.aws.failures import translated
from slipway.errors import NotFound, Permanent

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients

PARAMETER = "ssm:"
"""What a reference to Parameter Store begins with: `ssm:/slipway/wandb-api-key`. The others are to Secrets Manager."""


class AwsSecrets:
    """Secrets (see `slipway.ports`). `references`: name → ARN or name of a secret, or `ssm:` and the name of a
    parameter, a SecureString or not.

    A text that is a JSON object may hold several secrets: `prod/wandb#api_key` picks a key. An object whose only key is
    the name itself, as AWS's console makes it, gives that key's value without being told.
    """

    def __init__(self, clients: Clients, references: Mapping[str, str]) -> None:
        self._clients = clients
        self._references = references

    def get(self, reference: str) -> str | None:
        """None too where the secret that is referred to, or its key, is not there. Raises Forbidden where Slipway's
        role may not read it, and Permanent for one that is not text."""
        place, _, key = self._references.get(reference, "").partition("#")
        if not place:
            return None
        text = self._text(place)
        if text is None:
            return None
        return _picked(text, key, reference, place)

    def _text(self, place: str) -> str | None:
        try:
            with translated(f"read the secret {place}"):
                value = self._value(place)
        except NotFound:
            return None
        if isinstance(value, str):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            # Not chained: that error carries the secret.
            raise Permanent(f"the secret {place} must be UTF-8 text") from None

    def _value(self, place: str) -> str | bytes:
        """Powertools names every failure alike; the one of AWS is behind it."""
        from aws_lambda_powertools.utilities.parameters import GetParameterError, SecretsProvider, SSMProvider

        value: str | bytes | dict[str, object] | None
        try:
            if place.startswith(PARAMETER):
                parameters = SSMProvider(boto3_client=self._clients.ssm)
                value = parameters.get(place.removeprefix(PARAMETER), max_age=0, decrypt=True)
            else:
                value = SecretsProvider(boto3_client=self._clients.secretsmanager).get(place, max_age=0)
        except GetParameterError as error:
            raise (error.__context__ or error) from None
        if not isinstance(value, str | bytes):
            raise Permanent(f"the secret {place} must be text")
        return value


def _picked(text: str, key: str, reference: str, place: str) -> str | None:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        if key:
            raise Permanent(f"the secret {place} is no JSON object, so it has no key '{key}'")
        return text
    if not key and document.keys() != {reference}:
        return text
    value = document.get(key or reference)
    return value if value is None or isinstance(value, str) else json.dumps(value)
