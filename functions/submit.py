"""A submission becomes a stored item: parse, hold it against its queue, store, send its id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from slipway import names
from slipway.errors import Invalid, Problem, nearest
from slipway.launch import launch
from slipway.limits import run_limit
from slipway.machine import PREPARE_LEASE
from slipway.model import (
    DEFAULT_PRIORITY,
    Act,
    ImageSource,
    Item,
    Json,
    Lease,
    Moment,
    Queue,
    State,
    Submission,
    Timeouts,
    Topic,
)
from slipway.ports import Ports
from slipway.render import Payload, payload
from slipway.spec import parse_submission
from slipway.template import resolve

UNKNOWN_IMAGE = "image-to-be-built"
"""Stands for an image whose name is the hash of what is not fetched yet."""
UNKNOWN_REVISION = "revision-to-be-resolved"


def submit(
    document: Mapping[str, Json],
    ports: Ports,
    *,
    entity: str | None = None,
    project: str | None = None,
    authorise: Callable[[Submission], None] = lambda _: None,
    retry_of: str | None = None,
) -> Item:
    """The stored item; the one from before when the idempotency key is known, whatever became of its queue since.

    `entity` and `project` are used where the launch spec names none. `authorise` raises Forbidden for a
    submission its caller may not make. Raises Invalid with everything that is wrong with the submission.
    """
    submission = parse_submission(document, entity=entity, project=project)
    authorise(submission)
    try:
        item = ports.store.create(_checked(submission, ports, retry_of))
    except Invalid:
        # Who says again what was accepted is not refused for a queue that was drained, changed or deleted meanwhile.
        known = ports.store.known(submission.entity, submission.idempotency_key)
        if known is None:
            raise
        item = known
    if item.state is State.PENDING and item.version == 1:
        # Also for a known key: the first call may have died between its write and this.
        ports.bus.send(Topic.BUILD if item.image is None else Topic.ADVANCE, item.id)
    return item


def draft(
    document: Mapping[str, Json],
    ports: Ports,
    *,
    entity: str | None = None,
    project: str | None = None,
    authorise: Callable[[Submission], None] = lambda _: None,
) -> Item:
    """The item that a submission would become, checked to its payload and stored nowhere. As `submit` otherwise."""
    submission = parse_submission(document, entity=entity, project=project)
    authorise(submission)
    return _checked(submission, ports)


def _checked(submission: Submission, ports: Ports, retry_of: str | None = None) -> Item:
    if not isinstance(submission.job.source, ImageSource):
        ports.sources.check(submission.job.source)
    item = _item(submission, _queue(submission, ports), ports, retry_of)
    # What is wrong with what its backend would be given is told to whoever submits, and not to who looks for the
    # reason of a failure an hour later.
    rendered(item, ports)
    return item


def rendered(item: Item, ports: Ports) -> Payload:
    """What its backend would be given; an image and a revision that are not known yet are stood in for.

    Raises Invalid with every problem of it."""
    known = item.but(image=item.image or UNKNOWN_IMAGE, revision=item.revision or UNKNOWN_REVISION)
    return payload(item.resource, launch(known, base_url=ports.base_url), ports.around)


def _queue(submission: Submission, ports: Ports) -> Queue:
    queue = ports.store.queue(submission.queue_key)
    if queue is None:
        known = [each.name for each in ports.store.queues(submission.queue_key.entity)]
        fix = nearest(submission.queue, known) or "It has none yet: `slipway queue apply FILE` makes one."
        rule = f"entity '{submission.queue_key.entity}' has no such queue"
        raise Invalid(Problem("queue", rule, submission.queue, fix))
    if queue.draining:
        fix = f"Submit to another queue, or `slipway queue resume {queue.key}` first."
        raise Invalid(Problem("queue", "is being drained: it takes no more submissions", str(queue.key), fix))
    return queue


def _mounts_code(queue: Queue, submission: Submission, ports: Ports) -> bool:
    """Whether the code runs in a base image as it is: where the job asks for that, or nothing builds (S20)."""
    source, job = submission.job.source, submission.job
    builds = (queue.builder.get("type") or ports.default_builder(queue.resource)) != "noop"
    if isinstance(source, ImageSource) or (builds and job.base_image is None):
        return False
    if queue.resource == "kubernetes":
        return True
    if job.base_image is not None:
        rule = f"code is mounted in pods of Kubernetes, and queue '{queue.key}' is for {queue.resource}"
        raise Invalid(Problem("base_image", rule, job.base_image, "Leave it out: an image is built of the code."))
    rule = f"the builder of queue '{queue.key}' is noop: it takes images only"
    fix = "Submit an image, or set `builder: {type: docker}` in the queue file (Docker must be installed)."
    raise Invalid(Problem("uri", rule, source.uri, fix))


def _timeouts(queue: Queue, resource_args: Mapping[str, Json]) -> Timeouts:
    """The queue's, and where they leave the run's own open, what the rendered resource args themselves allow."""
    if queue.timeouts.run is not None:
        return queue.timeouts
    return replace(queue.timeouts, run=run_limit(queue.resource, resource_args))


def _item(submission: Submission, queue: Queue, ports: Ports, retry_of: str | None) -> Item:
    resource_args = resolve(queue, submission)
    source = submission.job.source
    mounts_code = _mounts_code(queue, submission, ports)
    now = ports.clock.now()
    item = Item(
        id=names.item_id(now, ports.entropy(4)),
        submission=submission,
        resource=queue.resource,
        resource_args=resource_args,
        run_id=submission.run_id or names.run_id(ports.entropy(5)),
        created_at=now,
        builder=queue.builder,
        timeouts=_timeouts(queue, resource_args),
        retries=queue.retries,
        max_resumes=queue.max_resumes,
        secrets=queue.secrets,
        priority=submission.priority if queue.prioritization else DEFAULT_PRIORITY,
        mounts_code=mounts_code,
        capped=queue.capped,
        image=source.image if isinstance(source, ImageSource) else None,
        deadline=now + queue.timeouts.pending,
        due=now + queue.timeouts.pending,
        retry_of=retry_of,
        timeline=(Moment(now, State.PENDING, "submitted"),),
        reason="submitted",
    )
    if item.image is None:
        # The message sent to `build` is the first holder of this lease.
        lease = Lease(Act.PREPARE, now + PREPARE_LEASE)
        return item.but(lease=lease, due=lease.until)
    return item
