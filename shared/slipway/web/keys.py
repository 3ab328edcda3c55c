"""Bearer keys over HTTP, for whoever holds a key for every entity."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from slipway.documents import Reader
from slipway.errors import NotFound
from slipway.keys import new_key
from slipway.views import SHOWN_KEY, key_document
from slipway.web.access import CallerOf, PortsOf
from slipway.web.bodies import Document
from slipway.web.replies import Json
from slipway.web.schemas import KeyList, NewKey, body

router = APIRouter(prefix="/v1/keys", tags=["keys"])

KeyId = Annotated[str, Path(description="`id` of the listing.")]


@router.post(
    "", status_code=201, summary="Make a key", responses={201: {"model": NewKey}}, openapi_extra=body("KeyRequest")
)
def create(document: Document, caller: CallerOf, ports: PortsOf) -> Json:
    """The answer's `key` is shown this once: only its SHA-256 is kept."""
    caller.require_every("keys are managed")
    reader = Reader.of(document, ["entity", "name"])
    entity = reader.required("entity", 64, "Name the team or person the key acts for, or '*' for all.")
    name = reader.text("name", 128) or ""
    reader.finish()
    text, key = new_key(entity, name or "unnamed", ports.entropy, ports.clock.now())
    ports.store.save_key(key)
    return Json({"key": text, **key_document(key)}, 201)


@router.get("", summary="List keys", responses={200: {"model": KeyList}})
def listing(caller: CallerOf, ports: PortsOf) -> Json:
    """Who they act for and what they are called; never the keys themselves."""
    caller.require_every("keys are managed")
    known = ports.store.keys()
    return Json({"keys": [key_document(key) for key in known]})


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses={204: {"description": "It is gone."}})
def revoke(key_id: KeyId, caller: CallerOf, ports: PortsOf) -> Response:
    """From now on it is not known."""
    caller.require_every("keys are managed")
    known = ports.store.keys()
    found = [key for key in known if key.digest[:SHOWN_KEY] == key_id]
    if not found:
        raise NotFound(f"there is no key '{key_id}'; `GET /v1/keys` lists what there is")
    for key in found:
        ports.store.delete_key(key.digest)
    return Response(status_code=204)
