"""A submission over HTTP, without a framework: FastAPI's route and the short way of a cold function share this."""

from __future__ import annotations

from slipway.errors import Invalid, Problem
from slipway.functions.submit import submit
from slipway.keys import EVERY_ENTITY, require
from slipway.model import ApiKey, Json, Submission
from slipway.ports import Ports
from slipway.views import item_document
from slipway.web.answers import Answer


def submitted(document: dict[str, Json], key: ApiKey, ports: Ports, *, idempotency_key: str | None = None) -> Answer:
    """201 for a new item, 200 for the one of a known idempotency key. `idempotency_key` is the header's.

    Raises what `functions.submit` raises, and Forbidden for another entity than the key's.
    """
    if idempotency_key is not None:
        document = _with_key(document, idempotency_key)

    def authorise(submission: Submission) -> None:
        require(key, submission.entity)
        require(key, submission.queue_key.entity)

    asked_at = ports.clock.now()
    entity = None if key.entity == EVERY_ENTITY else key.entity
    item = submit(document, ports, entity=entity, authorise=authorise)
    known = item.version > 1 or item.created_at < asked_at
    return Answer(200 if known else 201, item_document(item, ports.clock.now()), {"Location": f"/v1/items/{item.id}"})


def _with_key(document: dict[str, Json], key: str) -> dict[str, Json]:
    """The header and the field mean the same. Raises Invalid where they do not."""
    inside = document.get("idempotency_key")
    if inside not in (None, key):
        rule = f"is not the key of the Idempotency-Key header, '{key}'"
        raise Invalid(Problem("idempotency_key", rule, inside, "Send one of the two."))
    return {**document, "idempotency_key": key}
