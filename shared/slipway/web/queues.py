"""Queues over HTTP: apply, list, show, delete, pause, drain, resume. What goes in and comes out is the queue file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from slipway.errors import Invalid, Problem
from slipway.functions import control
from slipway.model import QueueKey
from slipway.queues import parse_queue, queue_document
from slipway.web.access import CallerOf, PortsOf
from slipway.web.bodies import Document
from slipway.web.replies import Json
from slipway.web.schemas import QueueFile, QueueList, body

router = APIRouter(prefix="/v1/queues", tags=["queues"])

Entity = Annotated[str, Path(description="The team or person that the queue belongs to.")]
Name = Annotated[str, Path(description="The queue's name.")]


@router.get("", summary="List queues", responses={200: {"model": QueueList}})
def listing(
    caller: CallerOf,
    ports: PortsOf,
    entity: Annotated[str | None, Query(description="Whose queues; the key's own entity by default.")] = None,
) -> Json:
    """All queues of an entity, by name; with a key for every entity, of all."""
    if entity is not None:
        caller.require(entity)
    return Json({"queues": [queue_document(queue) for queue in ports.store.queues(entity or caller.entity)]})


@router.put(
    "/{entity}/{name}",
    summary="Apply a queue file",
    responses={
        200: {"model": QueueFile, "description": "It was there: replaced, or the same already."},
        201: {"model": QueueFile, "description": "Created."},
    },
    openapi_extra=body("QueueFile", yaml=True),
)
def apply(entity: Entity, name: Name, document: Document, caller: CallerOf, ports: PortsOf) -> Json:
    """Creates the queue, or replaces it. JSON, or YAML where the content type says so.

    The header `Slipway-Changed` of the answer is `false` when it was the same already. Items that were submitted
    before keep the config that they were submitted under. A queue that is paused or drained stays so.
    """
    caller.require(entity)
    for field, given in (("entity", entity), ("name", name)):
        if document.get(field) not in (None, given):
            rule = f"is not the one of the path, '{given}'"
            raise Invalid(Problem(field, rule, document[field], "Make them the same, or leave the field out."))
    queue = parse_queue({**document, "entity": entity, "name": name})
    existed = ports.store.queue(queue.key) is not None
    saved, changed = control.apply_queue(queue, ports)
    return Json(queue_document(saved), 200 if existed else 201, {"Slipway-Changed": str(changed).lower()})


@router.get("/{entity}/{name}", summary="Look at a queue", responses={200: {"model": QueueFile}})
def show(entity: Entity, name: Name, caller: CallerOf, ports: PortsOf) -> Json:
    """The queue file: applied again, it gives the same queue."""
    caller.require(entity)
    return Json(queue_document(control.existing_queue(QueueKey(entity, name), ports)))


@router.delete(
    "/{entity}/{name}", status_code=204, summary="Delete a queue", responses={204: {"description": "It is gone."}}
)
def delete(entity: Entity, name: Name, caller: CallerOf, ports: PortsOf) -> Response:
    """Refused while it has items that are not over."""
    caller.require(entity)
    control.delete_queue(QueueKey(entity, name), ports)
    return Response(status_code=204)


@router.post("/{entity}/{name}/pause", summary="Pause a queue", responses={200: {"model": QueueFile}})
def pause(entity: Entity, name: Name, caller: CallerOf, ports: PortsOf) -> Json:
    """Starts nothing more from it. What runs goes on; what is submitted waits."""
    caller.require(entity)
    return Json(queue_document(control.pause(QueueKey(entity, name), ports)))


@router.post("/{entity}/{name}/drain", summary="Drain a queue", responses={200: {"model": QueueFile}})
def drain(entity: Entity, name: Name, caller: CallerOf, ports: PortsOf) -> Json:
    """Takes no more submissions; what is in line, is built or runs goes on to its end."""
    caller.require(entity)
    return Json(queue_document(control.drain(QueueKey(entity, name), ports)))


@router.post("/{entity}/{name}/resume", summary="Resume a queue", responses={200: {"model": QueueFile}})
def resume(entity: Entity, name: Name, caller: CallerOf, ports: PortsOf) -> Json:
    """Lets a queue that is paused or drained go on, its head at once."""
    caller.require(entity)
    return Json(queue_document(control.resume(QueueKey(entity, name), ports)))
