"""What would happen to a submission, over HTTP: nothing is stored, built or started."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from slipway.functions.plan import plan as planned
from slipway.model import Submission
from slipway.web.access import CallerOf, PortsOf
from slipway.web.bodies import Document
from slipway.web.replies import Json
from slipway.web.schemas import PlanView, body

router = APIRouter(prefix="/v1/plan", tags=["items"])


@router.post("", summary="Plan a launch spec", responses={200: {"model": PlanView}}, openapi_extra=body("LaunchSpec"))
def plan(
    document: Document,
    caller: CallerOf,
    ports: PortsOf,
    fetch: Annotated[bool, Query(description="Fetch the source, so that its image is known.")] = True,
) -> Json:
    """The payload that the backend would be given, the image and whether it must be built, and the place in line.

    What is wrong with the submission is told as it would be told of a real one.
    """

    def authorise(submission: Submission) -> None:
        caller.require(submission.entity)
        caller.require(submission.queue_key.entity)

    return Json(planned(document, ports, entity=caller.entity, authorise=authorise, fetch=fetch))
