"""What an API server answers, in Slipway's words: would a retry help, and what would?

Its answer to a failure is a `Status`, which names the reason and, for a manifest that it does not take, every field.
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from slipway.errors import (
    AlreadyExists,
    Forbidden,
    Invalid,
    NotFound,
    Permanent,
    Problem,
    Refused,
    SlipwayError,
    Temporary,
)

QUOTA = "exceeded quota"
"""How the quota's admission begins its refusal, which is a 403 like that of a missing right.
https://kubernetes.io/docs/concepts/policy/resource-quotas/"""
_RIGHT = re.compile(
    r'User "(?P<who>[^"]+)" cannot (?P<verb>\S+) resource "(?P<what>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<where>[^"]+)")?'
)
_UNKNOWN = re.compile(r'(?:strict decoding error: |, )?unknown field "(?P<field>[^"]+)"')
_SIGN_IN = (
    "The cluster does not know who we are: renew the credentials of the kubeconfig (`kubectl get --raw /readyz` says "
    "whether it works)"
)


class Vanished(Temporary):
    """410: what a list or a watch stood on is too old; begin again with a list.
    https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses"""


def of_answer(
    doing: str, code: int, body: bytes, retry_after: str | None = None, field: str = "resource_args"
) -> SlipwayError:
    """`doing` follows "cannot": "start Job ml/train". `body` is what came with the HTTP status `code`; `field` is where
    the refused manifest stands in what people write."""
    status = _status(body)
    said = str(status.get("message") or body.decode(errors="replace").strip()[:500] or f"HTTP {code}")
    wait = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    words = f"cannot {doing}: {said}"
    match code:
        case 401:
            # Also of a server whose own way to ask who we are does not answer: EKS and AKS ask elsewhere.
            return Refused(f"{words}. {_SIGN_IN}", 60.0)
        case 403 if QUOTA in said:
            return Refused(words, wait)
        case 403 if "being terminated" in said:
            return Permanent(f"{words}. Wait until the namespace is gone, and make it anew")
        case 403:
            return Forbidden(f"{words}{_cure(said)}")
        case 404:
            return NotFound(words)
        case 409 if status.get("reason") == "AlreadyExists":
            return AlreadyExists(words)
        case 409:
            return Temporary(words, wait)
        case 410:
            return Vanished(words)
        case 429:
            return Refused(words, wait)
        case 413 | 500 if "too large" in said:
            return Permanent(f"{words}. Make it smaller: what is large belongs in a file, an image or a volume")
        case 400 | 422:
            return Invalid(_problems(status, said, field)) if _is_of_body(status, said) else Permanent(words)
        case 408 | 425 | 500 | 502 | 503 | 504:
            return Temporary(words, wait)
    return Temporary(words) if code >= 500 else Permanent(words)


def of_connection(doing: str, server: str, error: Exception, *, sent: bool = True) -> SlipwayError:
    """There was no answer, or none that could be read. What does not hang on the server's health is permanent; what was
    never `sent` has had no effect."""
    said = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in said or "doesn't match" in said:
        cure = "Give the cluster's certificate-authority-data in the kubeconfig"
        return Permanent(f"cannot {doing}: the certificate of {server} is not trusted: {said}. {cure}")
    return (Temporary if sent else Refused)(f"cannot {doing}: {server} does not answer: {said}")


def _status(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _cure(said: str) -> str:
    """The rule that a Role lacks, ready to be pasted."""
    match = _RIGHT.search(said)
    if match is None:
        return ""
    group, what, verb = match["group"], match["what"], match["verb"]
    rule = f'{{apiGroups: ["{group}"], resources: ["{what}"], verbs: ["{verb}"]}}'
    where = f"a Role in namespace {match['where']}" if match["where"] else "a ClusterRole"
    return f". Give it this rule in {where}: {rule}"


def _is_of_body(status: Mapping[str, Any], said: str) -> bool:
    causes = (status.get("details") or {}).get("causes")
    return bool(causes) or status.get("reason") in ("Invalid", "BadRequest") or "unknown field" in said


def _problems(status: Mapping[str, Any], said: str, field: str) -> list[Problem]:
    """Every field that the server names, in the words of a queue's config."""
    found = [
        Problem(_within(field, str(each.get("field") or "")), str(each.get("message") or each.get("reason") or said))
        for each in (status.get("details") or {}).get("causes") or []
    ]
    found = found or [Problem(_within(field, each), "is unknown to the cluster") for each in _UNKNOWN.findall(said)]
    return list(dict.fromkeys(found)) or [Problem(field, f"the cluster does not take it: {said}")]


def _within(field: str, path: str) -> str:
    return f"{field}.{path}" if path and path != "<nil>" else field
