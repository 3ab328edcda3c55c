"""Answers as status, document and headers: what every way of speaking HTTP has in common, without a framework."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.errors import SlipwayError, Temporary
from slipway.model import Json
from slipway.views import error_document, error_kind

LIMIT = 1 << 20
"""Bytes of a request's body. A queue's config of 300 KB fits three times."""
RETRY_AFTER = 5
"""Seconds to wait before trying again, where whoever is unavailable did not say."""
HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer with a document: it may be about anyone."""

_STATUSES = {"invalid": 422, "forbidden": 403, "not_found": 404, "conflict": 409, "temporary": 503, "internal": 500}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    document: Json
    headers: Mapping[str, str] = field(default_factory=dict)


def encoded(document: Any) -> bytes:
    """Readable UTF-8, or escapes where a text holds half of a surrogate pair."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def failed(error: SlipwayError) -> Answer:
    """What a request that ended with this error is answered."""
    kind = error_kind(error)
    headers = {}
    if isinstance(error, Temporary):
        wait = RETRY_AFTER if error.retry_after is None else min(max(1, math.ceil(error.retry_after)), 3600)
        headers["Retry-After"] = str(wait)
    if kind in ("internal", "temporary"):
        log.warning("%s: %s", kind, error.message)
    return Answer(_STATUSES[kind], error_document(error), headers)
