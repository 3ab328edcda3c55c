"""A launch as a case gives it: the constants are those of the cases' own harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slipway.launch import launch
from slipway.model import GitSource, ImageSource, Item, Job, Launch, Source, Submission

BASE_URL = "https://launch.example"
ENTITY, PROJECT, RUN_ID = "test_entity", "test_project", "abcd1234"
_OF_A_QUEUE = ("WANDB_LAUNCH_QUEUE_NAME", "WANDB_LAUNCH_QUEUE_ENTITY", "WANDB_LAUNCH_TRACE_ID")


def launched(
    given: Mapping[str, Any],
    *,
    image: str | None = None,
    uri: str | None = None,
    resource: str = "kubernetes",
    resource_args: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    entry_point: list[str] | None = None,
    mounted: str | None = None,
) -> Launch:
    """`image` is the submission's own; `uri` the one that runs. `mounted`: the base image of mounted code."""
    changed = overrides if overrides is not None else given.get("overrides") or {}
    spec, queue = given.get("launch_spec") or {}, given.get("queue") or {}
    source: Source = ImageSource(image) if image else GitSource("https://git.example.com/team/code.git")
    command = changed.get("entry_point") or entry_point or ()
    submission = Submission(
        job=Job(source, tuple(command), base_image=mounted),
        queue=queue.get("name", "q"),
        queue_entity=queue.get("entity"),
        entity=given.get("target_entity") or given.get("entity") or ENTITY,
        project=given.get("target_project") or given.get("project") or PROJECT,
        name=given.get("run_name") or given.get("name"),
        author=spec.get("author"),
        sweep_id=given.get("sweep_id"),
        wandb_job=given.get("job") or spec.get("job"),
        args=tuple(changed.get("args") or ()),
        overrides_entry_point=bool(changed.get("entry_point")),
        working_dir=changed.get("working_dir"),
        run_config=changed.get("run_config") or {},
        artifacts=changed.get("artifacts") or {},
        files=changed.get("files") or {},
        additional_services=tuple(spec.get("additional_services") or ()),
    )
    item = Item(
        id=queue.get("run_queue_item_id", "item"),
        submission=submission,
        resource=resource,
        resource_args=resource_args or {},
        run_id=given.get("run_id") or RUN_ID,
        created_at=0.0,
        image=mounted or uri or image or "image",
        attempt=2 if spec.get("_resume_count") else 1,
        mounts_code=mounted is not None,
        revision="0123456789abcdef0123456789abcdef01234567",
    )
    started = launch(item, base_url=BASE_URL)
    # Slipway's own variables are beside W&B's everywhere; those of a queue are there in W&B too when an agent launches.
    left_out = () if queue else _OF_A_QUEUE
    env = {
        name: value for name, value in started.env.items() if not name.startswith("SLIPWAY_") and name not in left_out
    }
    return replace(started, env=env)
