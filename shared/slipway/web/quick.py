"""The short way of a plain submission, for a function that starts cold.

The framework costs a cold function twice the CPU of everything else it loads. A submission that is plain JSON from a
known key needs none of it; whatever else comes (other paths, YAML, a body that does not parse, a key that is not known)
is left to the framework, which answers it in full. Both ways share `submission` and `answers`, so they cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from slipway.documents import check_json, distinct
from slipway.errors import SlipwayError
from slipway.keys import holder
from slipway.model import Json
from slipway.ports import Ports
from slipway.web.answers import LIMIT, Answer, failed
from slipway.web.submission import submitted

_LONGEST_KEY = 255


def answer(method: str, path: str, headers: Mapping[str, str], body: str, ports: Ports) -> Answer | None:
    """What the request is answered; None for one that the framework has to see. `headers` by lower-case name."""
    if (method, path) != ("POST", "/v1/items"):
        return None
    document = _document(headers, body)
    scheme, _, text = headers.get("authorization", "").partition(" ")
    idempotency_key = headers.get("idempotency-key")
    if document is None or scheme.lower() != "bearer" or len(idempotency_key or "") > _LONGEST_KEY:
        return None
    try:
        key = holder(text.strip(), ports.store)
        return None if key is None else submitted(document, key, ports, idempotency_key=idempotency_key)
    except SlipwayError as error:
        return failed(error)


def _document(headers: Mapping[str, str], body: str) -> dict[str, Json] | None:
    if "yaml" in headers.get("content-type", "").lower() or len(body) > LIMIT or len(body.encode()) > LIMIT:
        return None
    try:
        document = json.loads(body, object_pairs_hook=distinct)
        check_json(document)
    except (ValueError, RecursionError, SlipwayError):
        return None
    return document if isinstance(document, dict) else None
