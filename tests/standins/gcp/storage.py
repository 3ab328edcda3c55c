"""Google Cloud Storage over its JSON API, and its signed URLs, whose signatures are checked.

It keeps what is put, answers as the documentation has it, and takes no call without a token of the account.
https://cloud.google.com/storage/docs/json_api/v1/objects
https://cloud.google.com/storage/docs/authentication/canonical-requests
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.standins.gcp.accounts import EMAIL, Accounts
from tests.standins.raw_http import Answer, Request

JSON = {"Content-Type": "application/json"}


@dataclass
class Storage:
    """One bucket per name in `buckets`: object → content."""

    accounts: Accounts
    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusals: list[Answer] = field(default_factory=list)
    """For the next calls of the JSON API."""
    chunked: bool = False
    """Whether the last upload came without its length."""

    def __call__(self, request: Request) -> Answer:
        if request.path == "/token":
            return self.accounts.answer(request)
        if request.path.endswith(":signBlob"):
            return self._sign(request)
        if "X-Goog-Signature" in request.query:
            return self._signed(request)
        if not self.accounts.knows(request):
            return _error(401, "Invalid Credentials")
        if self.refusals:
            return self.refusals.pop(0)
        if match := re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", request.path):
            return self._upload(unquote(match[1]), request)
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)/o/([^/]+)", request.path):
            return self._download(unquote(match[1]), unquote(match[2]))
        return _error(404, "Not Found")

    def _upload(self, bucket: str, request: Request) -> Answer:
        if bucket not in self.buckets:
            return _error(404, "The specified bucket does not exist.")
        assert request.query["uploadType"] == "media"
        name = request.query["name"]
        self.buckets[bucket][name] = request.body
        self.chunked = "transfer-encoding" in request.headers
        told = {"kind": "storage#object", "name": name, "bucket": bucket, "size": str(len(request.body))}
        return Answer(200, json.dumps(told).encode(), JSON)

    def _download(self, bucket: str, name: str) -> Answer:
        if bucket not in self.buckets:
            return Answer(404, b"The specified bucket does not exist.")
        content = self.buckets[bucket].get(name)
        if content is None:
            return Answer(404, f"No such object: {bucket}/{name}".encode())
        return Answer(200, content)

    def _sign(self, request: Request) -> Answer:
        if not self.accounts.knows(request):
            return _error(401, "Invalid Credentials")
        if self.refusals:
            return self.refusals.pop(0)
        assert request.path == f"/v1/projects/-/serviceAccounts/{EMAIL}:signBlob"
        message = base64.b64decode(json.loads(request.body)["payload"])
        signature = self.accounts.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return Answer(200, json.dumps({"signedBlob": base64.b64encode(signature).decode()}).encode(), JSON)

    def _signed(self, request: Request) -> Answer:
        """https://cloud.google.com/storage/docs/authentication/signatures#string-to-sign"""
        query = {name: value for name, value in request.query.items() if name != "X-Goog-Signature"}
        names = query["X-Goog-SignedHeaders"].split(";")
        canonical = "\n".join(
            [
                request.method,
                request.path,
                urlencode(sorted(query.items()), quote_via=quote, safe="~"),
                *(f"{name}:{request.headers[name]}" for name in names),
                "",
                ";".join(names),
                "UNSIGNED-PAYLOAD",
            ]
        )
        scope = query["X-Goog-Credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["GOOG4-RSA-SHA256", query["X-Goog-Date"], scope, digest])
        signature = bytes.fromhex(request.query["X-Goog-Signature"])
        try:
            self.accounts.key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return Answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        made = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > made + timedelta(seconds=int(query["X-Goog-Expires"])):
            return Answer(400, b"<Error><Code>ExpiredToken</Code></Error>")
        _, bucket, name = request.path.split("/", 2)
        return self._download(bucket, unquote(name))


def _error(status: int, words: str) -> Answer:
    return Answer(status, json.dumps({"error": {"code": status, "message": words}}).encode(), JSON)
