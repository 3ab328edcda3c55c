"""From an item that leaves the queue to the Launch that a target starts: macros filled in, and W&B's variables set.

The variables and their splitting are those of W&B Launch, so that `wandb.init()` in a job finds its run, its
config and its file overrides. The API key is a reference: its value is read by the target, at the last moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from slipway import macros
from slipway.errors import Invalid, Problem
from slipway.model import Code, ImageSource, Item, Json, Launch, RunRef

MAX_VARIABLE = 32670
"""Characters of one variable on most backends, W&B's figure."""
LIMITS = {"sagemaker": 512}
"""Resource → characters of one variable, where the backend takes fewer.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html"""


def launch(item: Item, *, base_url: str | None = None) -> Launch:
    """What a target needs to start this attempt of the item.

    `base_url` is the W&B server that the run reports to, None for W&B's own default. Raises Invalid with every macro
    that cannot be filled in, and when the item has no image yet.
    """
    submission = item.submission
    limit = LIMITS.get(item.resource, MAX_VARIABLE)
    if item.image is None:
        raise Invalid(Problem("image", "is not known yet", fix="The item's source must be prepared first."))
    run_name = submission.name or item.run_id
    project = submission.project.lower()
    table = {
        "project_name": project,
        "entity_name": submission.entity,
        "run_id": item.run_id,
        "run_name": run_name,
        "image_uri": item.image,
        "author": submission.author,
        "item_id": item.id,
        "attempt": str(item.attempt),
        "queue_name": submission.queue,
    }
    return Launch(
        run=RunRef(item.id, item.attempt, item.backend_id),
        run_id=item.run_id,
        image=item.image,
        entry_point=item.entry_point or submission.job.entry_point,
        args=submission.args,
        env=_environment(item, project, base_url, limit),
        secrets={"WANDB_API_KEY": "WANDB_API_KEY", **item.secrets},
        resource_args=macros.expand(item.resource_args, table, "resource_args"),
        entity=submission.entity,
        project=project,
        run_name=run_name,
        overriding=submission.overrides_entry_point,
        code=_code(item),
        services=_services(item, table),
    )


def _code(item: Item) -> Code | None:
    source = item.submission.job.source
    if not item.mounts_code or item.revision is None or isinstance(source, ImageSource):
        return None
    # An image that was made for this job has what it needs; a queue's base image serves many.
    install = item.submission.job.base_image is None
    return Code(source, item.revision, item.submission.working_dir, install=install)


def _services(item: Item, table: Mapping[str, str | None]) -> tuple[Mapping[str, Json], ...]:
    services = [service["config"] for service in item.submission.additional_services]
    return tuple(macros.expand(services, table, "additional_services"))


def chunked(name: str, text: str, limit: int) -> dict[str, str]:
    """One variable, or where the text is longer than `limit` characters NAME_0, NAME_1, … that make it up in order."""
    if len(text) <= limit:
        return {name: text}
    starts = range(0, len(text), limit)
    return {f"{name}_{number}": text[start : start + limit] for number, start in enumerate(starts)}


def _environment(item: Item, project: str, base_url: str | None, limit: int) -> dict[str, str]:
    submission = item.submission
    source = submission.job.source
    known = {
        "WANDB_BASE_URL": base_url,
        "WANDB_PROJECT": project,
        "WANDB_ENTITY": submission.entity,
        "WANDB_LAUNCH": "True",
        "WANDB_RUN_ID": item.run_id,
        "WANDB_DOCKER": source.image if isinstance(source, ImageSource) else None,
        "WANDB_NAME": submission.name,
        "WANDB_USERNAME": submission.author,
        "WANDB_SWEEP_ID": submission.sweep_id,
        "WANDB_RESUME": "allow" if item.attempt > 1 else None,
        "WANDB_LAUNCH_QUEUE_NAME": item.queue.name,
        "WANDB_LAUNCH_QUEUE_ENTITY": item.queue.entity,
        "WANDB_LAUNCH_TRACE_ID": item.id,
        "SLIPWAY_ITEM": item.id,
        "SLIPWAY_ATTEMPT": str(item.attempt),
    }
    return {
        **{name: value for name, value in known.items() if value},
        **chunked("WANDB_CONFIG", _json(submission.run_config), limit),
        **chunked("WANDB_LAUNCH_FILE_OVERRIDES", _json(submission.files), limit),
        # W&B's reader knows no chunks of this one.
        "WANDB_ARTIFACTS": _json(
            {**({"_wandb_job": submission.wandb_job} if submission.wandb_job else {}), **submission.artifacts}
        ),
    }


def _json(value: Mapping[str, Json]) -> str:
    """ASCII only, so that no chunk ends inside a character."""
    return json.dumps(dict(value))
