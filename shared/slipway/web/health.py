"""Is it alive, is it ready, and how busy is it."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter, Request

from slipway.errors import SlipwayError
from slipway.model import QueueKey, State
from slipway.ports import Ports
from slipway.views import letter_document
from slipway.web.access import CallerOf, PortsOf
from slipway.web.replies import Json
from slipway.web.schemas import Healthy, Ready, Status

COUNTED = 1000
"""Items that are counted of each state: a listing costs what it shows, whatever the store holds."""

probes = APIRouter(tags=["health"])
status = APIRouter(prefix="/v1", tags=["health"])


@probes.get("/healthz", summary="Is the server alive", responses={200: {"model": Healthy}})
async def healthz() -> Json:
    """Answers as long as the process serves requests; asks nobody else. For liveness probes."""
    return Json({"status": "ok"})


@probes.get(
    "/ready",
    summary="Can the server do its work",
    responses={200: {"model": Ready}, 503: {"model": Ready, "description": "Not now; `reasons` says why."}},
)
def ready(request: Request, ports: PortsOf) -> Json:
    """Whether the store answers and workers are alive. For readiness and start-up probes."""
    reasons = _troubles(ports)
    if not request.app.state.workers():
        reasons.append("no worker is up: nothing that is submitted moves")
    reasons.extend(request.app.state.ready())
    return Json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


@status.get("/status", summary="What is going on", responses={200: {"model": Status}})
def overview(caller: CallerOf, ports: PortsOf) -> Json:
    """Items by state, how full the queues are, and for a key for every entity the messages that were given up on.

    Counts stop at `counted_to`: that many or more.
    """
    entity = caller.entity
    counts: dict[str, int] = {}
    waiting: Counter[QueueKey] = Counter()
    for state in State:
        found = ports.store.items(entity=entity, states=[state], limit=COUNTED)
        counts[state.value] = len(found)
        if state in (State.PENDING, State.BUILDING):
            waiting.update(item.queue for item in found)
    queues = [
        {
            "entity": queue.entity,
            "name": queue.name,
            "resource": queue.resource,
            "paused": queue.paused,
            "draining": queue.draining,
            "max_jobs": queue.max_jobs,
            "slots_in_use": len(ports.store.slots(queue.key)) if queue.capped else None,
            "waiting": waiting[queue.key],
        }
        for queue in ports.store.queues(entity)
    ]
    letters = None if entity is not None else [letter_document(letter) for letter in ports.bus.dead_letters()]
    return Json({"items": counts, "counted_to": COUNTED, "queues": queues, "dead_letters": letters})


def _troubles(ports: Ports) -> list[str]:
    troubles = []
    for name, ask in (("store", ports.store.crowded), ("bus", lambda: ports.bus.dead_letters(1))):
        try:
            ask()
        except SlipwayError as error:
            troubles.append(f"the {name} does not answer: {error.message}")
    return troubles
