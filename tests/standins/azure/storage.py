"""Azure Blob Storage over its REST API, for the real client: what comes is let in by its signature or token alone.

https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key
https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas
https://learn.microsoft.com/en-us/rest/api/storageservices/create-user-delegation-sas
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.etree import ElementTree

from tests.standins.azure.identity import Identity
from tests.standins.raw_http import Answer, Request

ACCOUNT = "slipwaytests"
KEY = base64.b64encode(b"an account key of 64 bytes, which nobody uses but these tests...").decode()
DELEGATION = base64.b64encode(b"a key that signs for an identity").decode()
RESOURCE = "https://storage.azure.com"
SIGNED = ("sp", "st", "se")
DELEGATED = ("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "skdutid", "sduoid")
"""Of the parameters of a URL, in the order in which they are signed."""
HEADERS = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"),
    *("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)
_SAID = {"ETag": '"0x8D"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


@dataclass
class Storage:
    """One account, whose name is the first part of the path. Container → blob → content."""

    identity: Identity = field(default_factory=Identity)
    containers: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusals: list[Answer] = field(default_factory=list)
    """For the next calls that were let in."""
    blocks: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, request: Request) -> Answer:
        if not self._knows(request):
            return _error(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        if self.refusals:
            return self.refusals.pop(0)
        if request.query.get("comp") == "userdelegationkey":
            return self._delegation(request)
        container, _, name = request.path.removeprefix(f"/{ACCOUNT}/").partition("/")
        blobs = self.containers.get(unquote(container))
        if blobs is None:
            return _error(404, "ContainerNotFound", "The specified container does not exist.")
        if request.method == "GET":
            return _read(blobs.get(unquote(name)), request)
        match request.query.get("comp"):
            case "block":
                self.blocks[request.query["blockid"]] = request.body
            case "blocklist":
                listed = ElementTree.fromstring(request.body)
                blobs[unquote(name)] = b"".join(self.blocks[str(each.text)] for each in listed)
            case _:
                assert request.headers["x-ms-blob-type"] == "BlockBlob"
                blobs[unquote(name)] = request.body
        return Answer(201, b"", _SAID)

    def _knows(self, request: Request) -> bool:
        kind, _, proof = request.headers.get("authorization", "").partition(" ")
        if kind == "SharedKey":
            return hmac.compare_digest(proof, f"{ACCOUNT}:{_hmac(KEY, _shared_key_text(request))}")
        if kind == "Bearer":
            return self.identity.knows(request, RESOURCE)
        return request.method == "GET" and _signed(request)

    def _delegation(self, request: Request) -> Answer:
        asked = ElementTree.fromstring(request.body)
        start, end = str(asked.findtext("Start")), str(asked.findtext("Expiry"))
        version = request.headers["x-ms-version"]
        told = "".join(
            f"<{name}>{value}</{name}>"
            for name, value in {
                **{"SignedOid": "oid", "SignedTid": "tid", "SignedStart": start, "SignedExpiry": end},
                **{"SignedService": "b", "SignedVersion": version, "Value": DELEGATION},
            }.items()
        )
        body = f'<?xml version="1.0" encoding="utf-8"?><UserDelegationKey>{told}</UserDelegationKey>'
        return Answer(200, body.encode(), {"Content-Type": "application/xml"})


def _read(content: bytes | None, request: Request) -> Answer:
    if content is None:
        return _error(404, "BlobNotFound", "The specified blob does not exist.")
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("x-ms-range", ""))
    said = {**_SAID, "x-ms-blob-type": "BlockBlob"}
    if wanted is None:
        return Answer(200, content, said)
    first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
    if first > last:
        return _error(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
    said["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Answer(206, content[first : last + 1], said)


def _shared_key_text(request: Request) -> str:
    said = dict(request.headers)
    if said.get("content-length") == "0":
        del said["content-length"]
    own = sorted((name, value) for name, value in said.items() if name.startswith("x-ms-"))
    query = sorted((name.lower(), value) for name, value in request.query.items())
    return "\n".join(
        [
            request.method,
            *(said.get(name, "") for name in HEADERS),
            *(f"{name}:{value}" for name, value in own),
            f"/{ACCOUNT}{request.path}",
        ]
    ) + "".join(f"\n{name}:{value}" for name, value in query)


def _signed(request: Request) -> bool:
    """Whether the URL itself lets its holder in."""
    query = request.query
    if "sig" not in query or "r" not in query.get("sp", ""):
        return False
    path = unquote(request.path).removeprefix(f"/{ACCOUNT}")
    by_identity = "skoid" in query
    parts = [
        *(query.get(name, "") for name in SIGNED),
        f"/blob/{ACCOUNT}{path}",
        *(query.get(name, "") for name in (DELEGATED if by_identity else ("si",))),
        *(query.get(name, "") for name in ("sip", "spr", "sv", "sr")),
        "",  # A snapshot.
        query.get("ses", ""),
        *([""] * 2 if by_identity else []),  # Headers and parameters that a request must have besides.
        *(query.get(name, "") for name in ("rscc", "rscd", "rsce", "rscl", "rsct")),
    ]
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    good = query.get("st", "") <= now < query["se"]
    return good and hmac.compare_digest(query["sig"], _hmac(DELEGATION if by_identity else KEY, "\n".join(parts)))


def _hmac(key: str, text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()


def _error(status: int, code: str, words: str) -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
    return Answer(status, body.encode(), {"x-ms-error-code": code, "Content-Type": "application/xml"})
