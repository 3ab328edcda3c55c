"""What went wrong on AWS, in Slipway's own errors, with AWS's words kept and the cure named.

The codes are those of each service's API reference and of
https://docs.aws.amazon.com/general/latest/gr/api-retries.html. A code that is not known here goes by its HTTP status:
500 and above may pass, the rest will not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slipway.errors import Forbidden, Invalid, NotFound, Permanent, Problem, Refused, SlipwayError, Temporary

THROTTLED = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled"),
        *("TooManyRequestsException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"),
        *("BandwidthLimitExceeded", "SlowDown", "TransactionInProgressException", "PriorRequestNotComplete"),
        *("EC2ThrottledException", "KMS.ThrottlingException", "OverLimit", "TooManyRequests"),
    }
)
"""Too many calls: none of them took effect."""
CREDENTIALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidClientTokenId"),
        *("UnrecognizedClientException", "InvalidAccessKeyId", "MissingAuthenticationToken"),
        *("MissingAuthenticationTokenException", "InvalidToken", "AuthFailure"),
    }
)
"""Not who we say we are, or no longer. Whoever runs Slipway renews them, and the work is still there."""
SKEWED = frozenset(
    {
        *("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"),
        *("SignatureDoesNotMatch", "InvalidSignatureException"),
    }
)
"""The signature is not of now: this machine's clock is wrong, or its secret key."""
DENIED = frozenset(
    {
        *("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403"),
        "KMS.AccessDeniedException",
    }
)
MISSING = frozenset(
    {
        *("ResourceNotFoundException", "ResourceNotFound", "NoSuchBucket", "NoSuchKey", "404"),
        *("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "RepositoryNotFoundException"),
        *("ParameterNotFound", "ClusterNotFound"),
    }
)
TIMED_OUT = frozenset({"RequestTimeout", "RequestTimeoutException"})
"""A request that did not arrive whole in time, with a status of 400."""

_DENIAL = re.compile(
    r"User: (?P<user>\S+) is not authorized to perform: (?P<action>[\w-]+:\w+)"
    r"(?: on resource: \"?(?P<resource>[^\s,\"]+))?"
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raises what AWS or boto3 raises inside as Slipway's error. `doing` says what was tried: "start a build"."""
    try:
        yield
    except SlipwayError:
        raise
    except Exception as error:
        known = failure(error, doing)
        if known is None:
            raise
        raise known from error


def code_of(error: Exception) -> str:
    """AWS's own word for an error, such as `ThrottlingException`; empty where it is none of AWS's."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def words_of(error: Exception) -> str:
    """AWS's sentence."""
    return str(_answer(error).get("Error", {}).get("Message") or error)


def failure(error: Exception, doing: str) -> SlipwayError | None:
    """The error as one of ours; None for one that is neither AWS's nor boto3's."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    match error:
        case boto.ClientError():
            return _of_answer(error, doing)
        case boto.NoRegionError():
            fix = "Set AWS_REGION, or `region` in ~/.aws/config."
            return Invalid(Problem("region", f"no AWS region is set, so Slipway cannot {doing}", fix=fix))
        case boto.InvalidRegionError() | boto.UnknownRegionError():
            rule = f"is no AWS region: {str(error).rstrip('.')}"
            return Invalid(Problem("region", rule, fix="Mend AWS_REGION, such as eu-west-1."))
        case boto.ProfileNotFound() | boto.ConfigParseError() | boto.InvalidConfigError():
            return Invalid(
                Problem("AWS_PROFILE", str(error), fix="`aws configure list-profiles` names those there are.")
            )
        case boto.ParamValidationError():
            return Invalid(_parameters(error))
        case (
            boto.NoCredentialsError()
            | boto.PartialCredentialsError()
            | boto.CredentialRetrievalError()
            | boto.TokenRetrievalError()
            | boto.UnauthorizedSSOTokenError()
            | boto.SSOTokenLoadError()
            | boto.MetadataRetrievalError()
        ):
            return _unknown_caller(doing, str(error))
        case boto.SSLError():
            cure = "Check AWS_ENDPOINT_URL, and AWS_CA_BUNDLE where a proxy signs for AWS"
            return Refused(f"cannot {doing}: {error}. {cure}", retry_after=60.0)
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            return Refused(f"cannot {doing}: {error}. Check AWS_REGION and the network", retry_after=15.0)
        case boto.HTTPClientError() | boto.IncompleteReadError():
            return Temporary(f"cannot {doing}: {error}")
        case ResponseParserError():
            return Temporary(f"cannot {doing}: what answers is not AWS: check AWS_ENDPOINT_URL")
        case boto.BotoCoreError():
            return Permanent(f"cannot {doing}: {error}")
    return None


def of_code(code: str, words: str, status: int, doing: str, operation: str = "") -> SlipwayError:
    """By AWS's code and, where that is not known here, by the HTTP status. Also for an entry of a batch."""
    said = f"cannot {doing}: {words} ({code})"
    if code in THROTTLED or status == 429:
        return Refused(said)
    if code in CREDENTIALS:
        return _unknown_caller(doing, f"{words} ({code})")
    if code in SKEWED:
        return Refused(f"{said}. Set this machine's clock right, and check AWS_SECRET_ACCESS_KEY", retry_after=60.0)
    if code in DENIED:
        return _denied(words, doing, f"{code} of {operation}" if operation else code)
    if code in MISSING:
        return NotFound(said)
    if code in TIMED_OUT or status >= 500 or status == 408:
        return Temporary(said)
    return Permanent(said)


def _of_answer(error: Exception, doing: str) -> SlipwayError:
    status = int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    return of_code(code_of(error), words_of(error), status, doing, str(getattr(error, "operation_name", "")))


def _unknown_caller(doing: str, words: str) -> Refused:
    """Nothing was done, and nothing is lost: whoever waits goes on waiting until the credentials are good again."""
    cure = "Renew the AWS credentials (`aws sso login`, `aws configure`), or give the process a role"
    return Refused(f"cannot {doing}: {words}. {cure}", retry_after=60.0)


def _denied(words: str, doing: str, code: str) -> Forbidden:
    found = _DENIAL.search(words)
    if found is None:
        return Forbidden(f"not allowed to {doing}: {words} ({code})")
    if "explicit deny" in words:
        # Allowing it once more would change nothing.
        cure = f"A policy takes {found['action']} away from {_role(found['user'])}: mend the one that it names"
        return Forbidden(f"not allowed to {doing}: {words}. {cure}")
    statement = json.dumps({"Effect": "Allow", "Action": found["action"], "Resource": found["resource"] or "*"})
    return Forbidden(f"not allowed to {doing}: {words}. Add to the policy of {_role(found['user'])}: {statement}")


def _role(arn: str) -> str:
    """`role slipway-advance`, of the ARN of a session of it."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    return f"role {name.split('/')[0]}" if kind == "assumed-role" else arn


def _parameters(error: Exception) -> list[Problem]:
    """Of botocore's own check against the service's model: a line for each broken rule.

    botocore ends its lines with the value, which may be anything: only the rule is told."""
    report = str(getattr(error, "kwargs", {}).get("report", error))
    problems = []
    for line in report.splitlines():
        rule, _, rest = line.partition(", value:")
        kind = rest.partition(", ")[2].removeprefix("valid ") if rest else ""
        problems.append(Problem("resource_args", f"AWS does not take it: {rule}" + (f" ({kind})" if kind else "")))
    return problems


def _answer(error: Exception) -> dict[str, Any]:
    answer = getattr(error, "response", None)
    return answer if isinstance(answer, dict) else {}
