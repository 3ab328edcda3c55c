"""A source becomes an image: resolve it to an immutable revision, hash its context, ask the registry, build on a miss.

The only function with a disk and minutes to spend; even so it never waits for the build.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from slipway import image as images
from slipway.context import copy
from slipway.errors import Permanent, Refused, Stale, Temporary
from slipway.functions.advance import advance
from slipway.machine import BUILDING, LOOK_AT_BUILD, PREPARE_LEASE, failed, postponed
from slipway.model import (
    Act,
    Build,
    BuildPhase,
    BuildRequest,
    Desired,
    ImageSource,
    Item,
    Lease,
    Presence,
    Stage,
    State,
)
from slipway.ports import Builder, Ports
from slipway.render import secrets
from slipway.render.mounted import base_image
from slipway.step import builder_of, builder_type, take_step


def build(item_id: str, ports: Ports) -> Item | None:
    """The item as it is afterwards: building, started at once because its image was there, failed,
    or, where the source or the builder cannot be reached, put off with the reason."""
    item = ports.store.item(item_id)
    if item is None or not _wants_build(item):
        return advance(item_id, ports)
    try:
        if item.mounts_code:
            prepared = _mounted(item, ports)
        else:
            with tempfile.TemporaryDirectory(prefix="slipway-source-") as folder:
                prepared = _prepare(item, Path(folder), ports)
    except Permanent as error:
        prepared = _save(failed(item, Stage.BUILD, error.message, ports.clock.now()).item, ports)
    except Temporary as trouble:
        prepared = _save(postponed(item, trouble, ports.clock.now()), ports)
    if prepared.waiting and prepared.version == item.version:
        prepared = _admitted(prepared, ports)
    return advance(prepared.id, ports) if prepared.state is State.BUILDING or prepared.waiting else prepared


def fetch_and_plan(item: Item, revision: str, into: Path, ports: Ports) -> images.ImagePlan:
    """Fetches an item's source at a revision into an empty folder, and plans its image. The same revision gives the
    same plan whenever it is asked for, as long as Slipway and its builders are the same.

    Raises what `sources.fetch` and `image.plan` raise.
    """
    job = item.submission.job
    assert not isinstance(job.source, ImageSource)
    ports.sources.fetch(job.source, revision, into)
    return images.plan(
        into,
        job,
        builder=builder_type(item, ports),
        config=item.builder,
        default_python=f"{sys.version_info.major}.{sys.version_info.minor}",
        user=_user(item),
        starter=secrets.starter() if item.resource in secrets.FETCHED_BY_RUNS else None,
    )


def mounted_image(item: Item) -> str:
    """The base image of an item whose code is mounted."""
    return base_image(item.submission.job, item.builder)


def _user(item: Item) -> str:
    """Whom a generated image runs as; W&B Launch's choice. SageMaker mounts its folders for root."""
    if item.resource == "sagemaker":
        return "0:0"
    given = item.submission.job.user_id
    return f"{1000 if given is None else given}:0"


def _wants_build(item: Item) -> bool:
    """Its lease is the order to build, and goes when that is done: a message that comes again builds nothing again."""
    ordered = item.lease is not None and item.lease.act is Act.PREPARE
    return ordered and item.desired is Desired.RUN and item.state in (State.PENDING, State.BUILDING)


def _admitted(ready: Item, ports: Ports) -> Item:
    """Its image is there, which is written down with its start, or with its place in line."""
    after = take_step(ready, ports)
    return _save(ready, ports) if after is ready else after


def _mounted(item: Item, ports: Ports) -> Item:
    """Unsaved, as one whose image is there already: only its source has to be resolved to a revision."""
    source = item.submission.job.source
    assert not isinstance(source, ImageSource)
    revision = item.revision or ports.sources.resolve(source)
    return item.but(image=mounted_image(item), revision=revision, lease=None, due=item.deadline)


def _prepare(item: Item, folder: Path, ports: Ports) -> Item:
    """Saved as building or failed; unsaved where its image is there already."""
    source = item.submission.job.source
    assert not isinstance(source, ImageSource)
    revision = item.revision or ports.sources.resolve(source)
    plan = fetch_and_plan(item, revision, folder, ports)
    builder = builder_of(item, ports)
    image = builder.image(images.name_of(item.submission.job), plan.tag)
    known = item.but(
        image=image,
        source_hash=plan.tag,
        refusals=0,
        not_before=0.0,
        revision=revision,
        entry_point=plan.entry_point if plan.entry_point != item.submission.job.entry_point else None,
    )
    match builder.registry().presence(image):
        case Presence.PRESENT:
            return known.but(lease=None, due=known.deadline)
        case Presence.UNAUTHORISED:
            reason = f"the registry refused to say whether {image} exists: not authorised; check its credentials"
            return _save(failed(known, Stage.BUILD, reason, ports.clock.now()).item, ports)
        case Presence.ABSENT:
            with tempfile.TemporaryDirectory(prefix="slipway-context-") as context:
                copy(plan.entries, plan.context, Path(context))
                request = BuildRequest(
                    image=image,
                    attempt=1,
                    context=context,
                    dockerfile=plan.dockerfile_for(cache_mounts=builder.cache_mounts),
                    config=item.builder,
                    build_args=plan.build_args,
                    platform=plan.platform,
                    python_version=plan.python_version,
                )
                _start_once(plan.builder, builder, request, ports)
            return _building(known, ports)


def _start_once(kind: str, builder: Builder, request: BuildRequest, ports: Ports) -> None:
    """One build per image: whoever wins the guarded write of its record starts it, the others join."""
    now = ports.clock.now()
    record = ports.store.build(request.image)
    if record is None:
        record = Build(request.image, kind)
    else:
        phase = builder.status(record).phase
        if phase.alive or (record.lease is not None and now < record.lease.until):
            return
        if builder.registry().presence(request.image) is Presence.PRESENT:
            # It ended after the registry was asked; the builder may even have forgotten it since.
            return
        if phase is not BuildPhase.ABSENT:
            # Failed before, or succeeded and was deleted since: a new attempt has a new name.
            record = replace(record, attempt=record.attempt + 1, build_id=None)
    try:
        record = ports.store.save_build(replace(record, lease=Lease(Act.PREPARE, now + PREPARE_LEASE)))
    except Stale:
        return
    try:
        build_id = builder.start(replace(request, attempt=record.attempt)).build_id
    except (Permanent, Refused):
        # Nothing was started, and whoever tries next need not wait for the lease to run out.
        ports.store.save_build(replace(record, lease=None))
        raise
    ports.store.save_build(replace(record, build_id=build_id, lease=None))


def _building(item: Item, ports: Ports) -> Item:
    now = ports.clock.now()
    if item.state is not State.BUILDING:
        item = item.moved(State.BUILDING, now, BUILDING, deadline=now + item.timeouts.build)
    return _save(item.but(lease=None, due=now + LOOK_AT_BUILD), ports)


def _save(item: Item, ports: Ports) -> Item:
    try:
        return ports.store.save(item)
    except Stale as lost:
        return lost.current if isinstance(lost.current, Item) else item
