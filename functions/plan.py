"""What would happen to a submission, without doing it: nothing is stored, sent, built or started.

A real submission goes through the same functions, so what is planned is what would be sent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from slipway import image as images
from slipway.errors import NotFound, Temporary
from slipway.functions.build import fetch_and_plan, mounted_image
from slipway.functions.submit import draft, rendered
from slipway.guardrails import noteworthy
from slipway.model import ImageSource, Item, Json, Presence, Queue, Submission
from slipway.ports import Ports
from slipway.spec import submission_document
from slipway.step import builder_of
from slipway.views import masked


def plan(
    document: Mapping[str, Json],
    ports: Ports,
    *,
    entity: str | None = None,
    project: str | None = None,
    authorise: Callable[[Submission], None] = lambda _: None,
    fetch: bool = True,
    registry: bool = True,
) -> dict[str, Json]:
    """`{queue, submission, image, payload, guardrails, line, limits, warnings}`, plain JSON without secrets.

    `fetch`: a source is fetched and hashed, as a build would; without, the name of its image stays unknown. `registry`:
    it is asked whether the image is there. Raises Invalid with everything that is wrong, and what a fetch raises.
    """
    item = draft(document, ports, entity=entity, project=project, authorise=authorise)
    queue = ports.store.queue(item.queue)
    if queue is None:
        raise NotFound(f"queue {item.queue} was deleted meanwhile")
    item, image = _image(item, ports, fetch=fetch, registry=registry)
    payload = rendered(_shown(item), ports)
    return {
        "queue": {"entity": queue.entity, "name": queue.name, "resource": queue.resource},
        "submission": masked(submission_document(item.submission)),
        "image": image,
        "payload": {"call": payload.call, "body": masked(payload.body), "beside": masked(list(payload.beside))},
        "guardrails": _guardrails(item),
        "line": _line(item, queue, ports),
        "limits": {"run_seconds": item.timeouts.longest_run, "start_seconds": item.timeouts.start},
        "warnings": list(payload.warnings),
    }


def _shown(item: Item) -> Item:
    """The item without what looks like a secret in it. It is masked before it is rendered, and its payload after that
    once more: a payload holds the run's config as one text, and a command within a shell's script."""
    wanted = item.submission
    submission = replace(
        wanted,
        job=replace(wanted.job, entry_point=tuple(masked(wanted.job.entry_point))),
        args=tuple(masked(wanted.args)),
        run_config=masked(wanted.run_config),
        artifacts=masked(wanted.artifacts),
        files=masked(wanted.files),
    )
    entry_point = None if item.entry_point is None else tuple(masked(item.entry_point))
    return item.but(submission=submission, entry_point=entry_point, resource_args=masked(item.resource_args))


def _image(item: Item, ports: Ports, *, fetch: bool, registry: bool) -> tuple[Item, dict[str, Json]]:
    """The item with its image as far as that is known, and what there is to say of it: `build` is None where nobody
    can tell."""
    source = item.submission.job.source
    if isinstance(source, ImageSource):
        return item, {"reference": source.image, "build": False, "why": "the submission names it"}
    if not fetch:
        image = mounted_image(item) if item.mounts_code else None
        why = "the code is mounted in it" if image else "its name is the hash of the source, which was not fetched"
        return item.but(image=image), {"reference": image, "build": False if image else None, "why": why}
    revision = ports.sources.resolve(source)
    known = item.but(revision=revision)
    if item.mounts_code:
        known = known.but(image=mounted_image(item))
        why = "the code is mounted in it"
        return known, {"reference": known.image, "build": False, "why": why, "revision": revision}
    with tempfile.TemporaryDirectory(prefix="slipway-source-") as folder:
        planned = fetch_and_plan(known, revision, Path(folder), ports)
    name = images.name_of(item.submission.job)
    image = builder_of(item, ports).image(name, planned.tag)
    told: dict[str, Json] = {"reference": image, "revision": revision, "source_hash": planned.tag}
    known = known.but(image=image, entry_point=planned.entry_point)
    return known, {**told, **_presence(item, image, ports, registry=registry)}


def _presence(item: Item, image: str, ports: Ports, *, registry: bool) -> dict[str, Json]:
    if not registry:
        return {"build": None, "why": "no registry was asked"}
    try:
        presence = builder_of(item, ports).registry().presence(image)
    except Temporary as trouble:
        return {"build": None, "why": f"the registry does not answer: {trouble.message}"}
    build, why = _VERDICTS[presence]
    return {"build": build, "why": why}


_VERDICTS: Mapping[Presence, tuple[bool | None, str]] = {
    Presence.PRESENT: (False, "it is there already"),
    Presence.ABSENT: (True, "no image of this source is there yet"),
    Presence.UNAUTHORISED: (None, "the registry does not say: its credentials are refused"),
}


def _guardrails(item: Item) -> list[dict[str, Json]]:
    """Who set what: fields that no submitter could set, and so are the owner's word, and what the submission set."""
    submission = item.submission
    owners = [("queue", field, rule) for field, rule in noteworthy(item.resource, item.resource_args)]
    opened = [("submission", f"resource_args.{field}", "the queue opens it") for field in submission.resource_args]
    values = [
        ("submission", f"template_variables.{name}", "within its limits") for name in submission.template_variables
    ]
    return [
        {"field": field, "set_by": who, "verdict": "allowed", "reason": reason}
        for who, field, reason in (*owners, *opened, *values)
    ]


def _line(item: Item, queue: Queue, ports: Ports) -> dict[str, Json]:
    """Where it would stand."""
    return {
        "priority": item.priority,
        "ahead": ports.store.ahead(item),
        "slots": queue.max_jobs if queue.capped else None,
        "slots_in_use": len(ports.store.slots(queue.key)) if queue.capped else None,
        "paused": queue.paused,
    }
