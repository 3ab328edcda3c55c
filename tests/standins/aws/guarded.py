"""What a container on SageMaker meets: an endpoint that gives it credentials, and an AWS that checks signatures.

moto answers whoever asks, so what reaches it here was first signed as botocore itself would have signed it, byte for
byte of what came over the wire. It can refuse and throttle, in the words that AWS documents.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

PATH = "/v2/credentials/7f3a"
KEYS = Credentials(
    "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEBYaD/token+of=role"
)
"""What the endpoint gives."""


@dataclass
class GuardedAws:
    """A WSGI application before moto (`behind`, its URL)."""

    behind: str
    token: str = ""
    """Who asks for credentials must send it, where there is one."""
    answers: list[tuple[str, Any]] = field(default_factory=list)
    """(HTTP status, document) for the next calls, before moto gets any."""
    calls: list[str] = field(default_factory=list)
    """The action of each signed call, or why its signature was refused."""
    credentials_given: int = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            status, document = self._credentials(environ)
        else:
            status, document = self._call(environ)
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _credentials(self, environ: dict[str, Any]) -> tuple[str, Any]:
        if environ["PATH_INFO"] != PATH or environ.get("HTTP_AUTHORIZATION", "") != self.token:
            return "403 Forbidden", {"code": "Forbidden"}
        self.credentials_given += 1
        names = {"AccessKeyId": KEYS.access_key, "SecretAccessKey": KEYS.secret_key, "Token": KEYS.token}
        return "200 OK", {
            **names,
            "RoleArn": "arn:aws:iam::123456789012:role/runs",
            "Expiration": "2999-01-01T00:00:00Z",
        }

    def _call(self, environ: dict[str, Any]) -> tuple[str, Any]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if environ["HTTP_AUTHORIZATION"] != _authorization(environ, body):
            self.calls.append("signature refused")
            return "400 Bad Request", {
                "__type": "InvalidSignatureException",
                "message": "The signature does not match.",
            }
        self.calls.append(environ["HTTP_X_AMZ_TARGET"])
        if self.answers:
            return self.answers.pop(0)
        headers = {
            name: environ[f"HTTP_{name.upper().replace('-', '_')}"] for name in ("X-Amz-Target", "Authorization")
        }
        request = urllib.request.Request(self.behind, body, {**headers, "Content-Type": environ["CONTENT_TYPE"]})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return "200 OK", json.load(answer)
        except urllib.error.HTTPError as refusal:
            return f"{refusal.code} {refusal.reason}", json.load(refusal)


def _authorization(environ: dict[str, Any], body: bytes) -> str:
    """The header that botocore makes for what came, at the time that it says."""
    names = environ["HTTP_AUTHORIZATION"].split("SignedHeaders=")[1].split(",")[0].split(";")
    known = {"content-type": environ["CONTENT_TYPE"]}
    headers = {name: known.get(name) or environ[f"HTTP_{name.upper().replace('-', '_')}"] for name in names}
    region, service = environ["HTTP_AUTHORIZATION"].split("/")[2:4]
    return signed_by_botocore(
        f"http://{environ['HTTP_HOST']}{environ['PATH_INFO']}", headers, body, service, region, KEYS
    )


def signed_by_botocore(
    url: str, headers: dict[str, str], body: bytes, service: str, region: str, credentials: Credentials
) -> str:
    """The header `Authorization` that botocore makes for a POST whose X-Amz-Date is among the headers."""
    request = AWSRequest("POST", url, {name: value for name, value in headers.items() if name.lower() != "host"}, body)
    stamp = next(value for name, value in headers.items() if name.lower() == "x-amz-date")
    request.context["timestamp"] = stamp
    auth = SigV4Auth(credentials, service, region)
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    signed = auth.signed_headers(auth.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={signed}, Signature={signature}"
