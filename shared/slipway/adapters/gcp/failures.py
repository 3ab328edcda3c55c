"""What went wrong on Google Cloud, in Slipway's own errors, with Google's words kept and the cure named.

https://cloud.google.com/apis/design/errors#error_model
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Problem, Refused, SlipwayError, Temporary

_SIGN_IN = (
    "Run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or give the process a service "
    "account"
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raises what Google or its libraries raise inside as Slipway's error. `doing` says what was tried."""
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
    """The error as one of ours; None for one that is not of Google's libraries."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth import exceptions as auth

    match error:
        case auth.DefaultCredentialsError():
            rule = f"no credentials of Google Cloud were found, so Slipway cannot {doing}: {_first(error)}"
            return Invalid(Problem("GOOGLE_APPLICATION_CREDENTIALS", rule, fix=f"{_SIGN_IN}."))
        case auth.RefreshError():
            # Nothing was done, and nothing is lost: whoever waits goes on waiting until they are good again.
            return Refused(
                f"cannot {doing}: the credentials were refused: {_first(error)}. {_SIGN_IN}", retry_after=60.0
            )
        case auth.GoogleAuthError():
            return Refused(f"cannot {doing}: {_first(error)}", retry_after=15.0)
        case RetryError():
            return Temporary(f"cannot {doing}: {error.cause}")
        case GoogleAPICallError():
            # What came back is Google's sentence; the message has the whole request before it.
            answered = getattr(error.response, "text", "")
            return of_answer(doing, int(error.code or 500), answered or str(error.message))
        case requests.RequestException():
            return Temporary(f"cannot {doing}: Google Cloud does not answer: {error}")
    return None


def of_answer(doing: str, status: int, said: str, retry_after: str | None = None) -> SlipwayError:
    """`said` is the body of an answer with an HTTP status that is no success, or Google's sentence out of it."""
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
        document = json.loads(said)
        return str(document["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return said.strip()[:500]


def _first(error: Exception) -> str:
    """google-auth puts whole answers beside its sentence."""
    return str(error.args[0] if error.args else error)[:500]
