"""Items over HTTP: submit, list, look at, explain (it, or its image), cancel, retry, reprioritise."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request

from slipway.documents import Reader
from slipway.explain import explain as explained
from slipway.functions import control
from slipway.functions.image import explain_image
from slipway.model import State
from slipway.provenance import provenance_document
from slipway.views import item_document, item_summary
from slipway.web.access import CallerOf, OwnItem, PortsOf
from slipway.web.bodies import Document
from slipway.web.replies import Json, reply
from slipway.web.schemas import Explained, ImageView, ItemPage, ItemView, body
from slipway.web.submission import submitted

router = APIRouter(prefix="/v1/items", tags=["items"])


def workers_up(request: Request) -> bool:
    return bool(request.app.state.workers())


WorkersUp = Annotated[bool, Depends(workers_up)]


@router.post(
    "",
    status_code=201,
    summary="Submit a launch spec",
    responses={
        200: {"model": ItemView, "description": "The idempotency key is known: the item from before."},
        201: {"model": ItemView, "description": "A new item."},
    },
    openapi_extra=body("LaunchSpec"),
)
def submit(
    document: Document,
    caller: CallerOf,
    ports: PortsOf,
    idempotency_key: Annotated[
        str | None, Header(description="Submitting again under the same key gives the same item.", max_length=255)
    ] = None,
) -> Json:
    """Puts a job on a queue. The spec is W&B Launch's; where it names no entity, the key's own is meant.

    Everything that is wrong with it is told at once, as `problems`.
    """
    return reply(submitted(document, caller.key, ports, idempotency_key=idempotency_key))


@router.get("", summary="List items, newest first", responses={200: {"model": ItemPage}})
def listing(
    caller: CallerOf,
    ports: PortsOf,
    entity: Annotated[str | None, Query(description="Whose items; the key's own entity by default.")] = None,
    queue: Annotated[str | None, Query(description="Only those of the queue of this name.")] = None,
    state: Annotated[list[State] | None, Query(description="Only those in this state; may be repeated.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items on one page.")] = 100,
    before: Annotated[str | None, Query(description="`next` of the page before.", max_length=64)] = None,
) -> Json:
    """One page. `next` is what to pass as `before` for the page after it, and null on the last."""
    if entity is not None:
        caller.require(entity)
    found = ports.store.items(
        entity=entity or caller.entity, queue=queue, states=state or (), limit=limit + 1, before=before
    )
    page, more = found[:limit], len(found) > limit
    now = ports.clock.now()
    return Json({"items": [item_summary(item, now) for item in page], "next": page[-1].id if more else None})


@router.get("/{item_id}", summary="Look at an item", responses={200: {"model": ItemView}})
def show(item: OwnItem, ports: PortsOf) -> Json:
    """Everything about one item: its timeline, metrics, warnings, and what it was submitted as."""
    return Json(item_document(item, ports.clock.now()))


@router.get("/{item_id}/explain", summary="Why it is where it is", responses={200: {"model": Explained}})
def explain(item: OwnItem, ports: PortsOf, workers: WorkersUp) -> Json:
    """One sentence: why the item is in its state, and what would change that."""
    explanation = explained(item, ports, workers=workers)
    return Json({"sentence": explanation.sentence, "facts": explanation.facts})


@router.get("/{item_id}/image", summary="What its image is made of", responses={200: {"model": ImageView}})
def image(
    item: OwnItem,
    ports: PortsOf,
    files: Annotated[bool, Query(description="Each file too, with its digest.")] = False,
) -> Json:
    """Everything that decides the image of an item with a source: its source hash is the hash of this.

    The source is fetched again at its recorded revision, so the answer takes as long as that does.
    """
    return Json(provenance_document(explain_image(item.id, ports), files=files))


@router.post("/{item_id}/cancel", summary="Cancel an item", responses={200: {"model": ItemView}})
def cancel(item: OwnItem, ports: PortsOf) -> Json:
    """Wishes the item stopped. It ends as `stopped` once its backend says so; one that is over stays as it is."""
    return Json(item_document(control.cancel(item.id, ports), ports.clock.now()))


@router.post("/{item_id}/retry", status_code=201, summary="Retry an item", responses={201: {"model": ItemView}})
def retry(item: OwnItem, caller: CallerOf, ports: PortsOf) -> Json:
    """Submits again what an item that is over was submitted as: a new item, whose `retry_of` names the old."""
    caller.require(item.queue.entity)
    again = control.retry(item.id, ports)
    return Json(item_document(again, ports.clock.now()), 201, {"Location": f"/v1/items/{again.id}"})


@router.patch(
    "/{item_id}",
    summary="Change an item's priority",
    responses={200: {"model": ItemView}},
    openapi_extra=body("PriorityChange"),
)
def reprioritise(item: OwnItem, document: Document, caller: CallerOf, ports: PortsOf) -> Json:
    """Moves a waiting item within its line: 0 comes first, 3 last. Only on a queue with prioritization."""
    caller.require(item.queue.entity)
    reader = Reader.of(document, ["priority"])
    priority = document.get("priority")
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 3:
        reader.problem("priority", "must be a whole number from 0 (first) to 3 (last)", priority)
    reader.finish()
    assert isinstance(priority, int)
    return Json(item_document(control.reprioritise(item.id, priority, ports), ports.clock.now()))
