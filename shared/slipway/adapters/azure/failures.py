"""What went wrong on Azure, in Slipway's own errors, with Azure's words kept and the cure named.

https://learn.microsoft.com/en-us/azure/azure-resource-manager/troubleshooting/common-deployment-errors
https://learn.microsoft.com/en-us/rest/api/storageservices/common-rest-api-error-codes
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Problem, Refused, SlipwayError, Temporary

_SIGN_IN = "Run `az login`, set AZURE_CLIENT_ID and its kin, or give the process a managed identity"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raises what Azure or its libraries raise inside as Slipway's error. `doing` says what was tried."""
    try:
        yield
    except SlipwayError:
        raise
    except Exception as error:
        known = failure(error, doing)
        if known is None:
            raise
        raise known from error


def failure(error: Exception, doing: str) -> SlipwayError | None:
    """The error as one of ours; None for one that is not of Azure's libraries."""
    import httpx
    from azure.core import exceptions as azure

    match error:
        case azure.ClientAuthenticationError() if error.response is None:
            # Of azure-identity: its first line says what it is, those that follow what each kind of credentials lacks.
            rule = f"no credentials of Azure were found, so Slipway cannot {doing}: {_short(error.message)}"
            return Invalid(Problem("AZURE_CLIENT_ID", rule, fix=f"{_SIGN_IN}."))
        case azure.HttpResponseError() if error.status_code is not None:
            headers = getattr(error.response, "headers", {})
            return of_answer(doing, error.status_code, str(error.message), headers.get("Retry-After"))
        case azure.ServiceRequestError() | azure.ServiceResponseError() | httpx.TransportError():
            return Temporary(f"cannot {doing}: Azure does not answer: {error}")
        case azure.AzureError():
            return Permanent(f"cannot {doing}: {error}")
    return None


def of_answer(doing: str, status: int, said: str, retry_after: str | None = None) -> SlipwayError:
    """`said` is the body of an answer with an HTTP status that is no success, or Azure's sentence out of it."""
    words = f"cannot {doing}: {_sentence(said) or f'HTTP {status}'}"
    wait = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    match status:
        case 401:
            return Refused(f"{words}. {_SIGN_IN}", retry_after=60.0)
        case 403:
            return Forbidden(words)
        case 404:
            return NotFound(words)
        case 429:
            return Refused(words, wait)
        case 408:
            return Temporary(words, wait)
    return Temporary(words, wait) if status >= 500 else Permanent(words)


def _sentence(said: str) -> str:
    try:
        told = json.loads(said)["error"]
        return f"{told['message']} ({told['code']})"
    except (ValueError, KeyError, TypeError):
        return _short(said)


def _short(said: str) -> str:
    return " ".join(said.split())[:500]
