"""What EventBridge tells, as "look again": which item or which image an event is about. Pure.

An event may be late, twice or out of order (AWS: "several events may be sent for one state change"), so nothing else of
it is believed.
https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from slipway.adapters.aws import buildspec
from slipway.errors import Invalid, Problem
from slipway.model import Changed, Json
from slipway.render.sagemaker import ITEM_TAG

TRAINING, BUILD = "SageMaker Training Job State Change", "CodeBuild Build State Change"
QUIET = (
    *("Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Pending"),
    *("Downloading", "DownloadingTrainingImage", "Uploading", "Stopping"),
)
"""Secondary states of a training job that change nothing for its item: the rule lets no event of them through, which
saves three invocations of four."""
_NAME = re.compile(r"slipway-([0-9a-z]+)-\d+")


def changed(event: Mapping[str, Json]) -> Changed | None:
    """None for a training job or a build that is not Slipway's. Raises Invalid for an event of another kind."""
    kind, detail = event.get("detail-type"), event.get("detail")
    if kind not in (TRAINING, BUILD) or not isinstance(detail, Mapping):
        fix = f"The rules of sam/template.yaml let '{TRAINING}' and '{BUILD}' through."
        raise Invalid(Problem("detail-type", "is no event that Slipway looks at", kind, fix))
    if kind == TRAINING:
        item = _item(detail)
        return None if item is None else Changed(item_id=item)
    image = _image(detail)
    return None if image is None else Changed(image=image)


def _item(job: Mapping[str, Json]) -> str | None:
    """By its tag; by its name where that is one of ours."""
    tags = job.get("Tags")
    if isinstance(tags, Mapping) and isinstance(tags.get(ITEM_TAG), str):
        return str(tags[ITEM_TAG])
    named = _NAME.fullmatch(str(job.get("TrainingJobName")))
    return named[1] if named else None


def _image(build: Mapping[str, Json]) -> str | None:
    variables = build
    for field in ("additional-information", "environment"):
        inner = variables.get(field)
        variables = inner if isinstance(inner, Mapping) else {}
    for each in variables.get("environment-variables") or ():
        if isinstance(each, Mapping) and each.get("name") == buildspec.IMAGE:
            return str(each.get("value"))
    return None
