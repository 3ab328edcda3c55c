"""Dead letters over HTTP, for whoever holds a key for every entity: a message may be anyone's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from slipway.views import envelope_document, letter_document
from slipway.web.access import CallerOf, PortsOf
from slipway.web.replies import Json
from slipway.web.schemas import Envelope, LetterList

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])

LetterId = Annotated[str, Path(description="`id` of the listing.")]
_WHAT = "dead letters are handled"


@router.get("", summary="List dead letters", responses={200: {"model": LetterList}})
def listing(
    caller: CallerOf,
    ports: PortsOf,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 100,
) -> Json:
    """The messages that were given up on, the latest first, each with its last reason."""
    caller.require_every(_WHAT)
    return Json({"dead_letters": [letter_document(letter) for letter in ports.bus.dead_letters(limit)]})


@router.get("/{letter_id}", summary="Look at a dead letter", responses={200: {"model": Envelope}})
def show(letter_id: LetterId, caller: CallerOf, ports: PortsOf) -> Json:
    """With the message itself. Values whose name looks like a secret's are masked."""
    caller.require_every(_WHAT)
    return Json(envelope_document(ports.bus.dead_letter(letter_id)))


@router.post(
    "/{letter_id}/redrive",
    status_code=204,
    summary="Deliver a dead letter again",
    responses={204: {"description": "It is gone from here, and on its way as a fresh message."}},
)
def redrive(letter_id: LetterId, caller: CallerOf, ports: PortsOf) -> Response:
    """Safe at any time: a message says no more than "look again", and a submission is not taken in twice."""
    caller.require_every(_WHAT)
    ports.bus.redrive(letter_id)
    return Response(status_code=204)


@router.delete(
    "/{letter_id}", status_code=204, summary="Forget a dead letter", responses={204: {"description": "It is gone."}}
)
def drop(letter_id: LetterId, caller: CallerOf, ports: PortsOf) -> Response:
    """An item needs no message to go on; a submission that was not taken in yet is lost with its letter."""
    caller.require_every(_WHAT)
    ports.bus.drop(letter_id)
    return Response(status_code=204)
