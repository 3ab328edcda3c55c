"""Records as JSON text, so that every store keeps the same bytes and none invents a mapping of its own.

A record is one JSON object whose keys are the fields of the model. An item nests `submission`, `job` and `source`
(told apart by `kind`); its timeline is a list of `[at, state, reason]`; a lease is `{"act", "until"}`. Fields at their
default are written too: a default may change in a later version, what was saved may not.

Reading is tolerant one way only. A field that a newer version added is ignored, a field that an older one lacked takes
its default; a word that this version does not know (a state, a kind of source) is refused, for guessing would lose it.
Fields are listed by hand: every step reads and writes an item, and `dataclasses.asdict` takes ten times as long.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from slipway.errors import Permanent
from slipway.model import (
    DEFAULT_PRIORITY,
    MAX_RESUMES,
    Act,
    ApiKey,
    ArchiveSource,
    Build,
    Desired,
    GitSource,
    ImageSource,
    Item,
    Job,
    Json,
    Lease,
    Moment,
    Queue,
    Source,
    Stage,
    State,
    Submission,
    TemplateVariable,
    Timeouts,
)

Record = TypeVar("Record")


def item_to_json(item: Item) -> str:
    return submitted_part(item) + changing_part(item)


def submitted_part(item: Item) -> str:
    """The start of an item's JSON text: what it was submitted as, which no save changes. A store may write it once."""
    fixed = {
        "id": item.id,
        "resource": item.resource,
        "resource_args": item.resource_args,
        "run_id": item.run_id,
        "created_at": item.created_at,
        "retry_of": item.retry_of,
        "builder": item.builder,
        "timeouts": _timeouts_record(item.timeouts),
        "retries": item.retries,
        "max_resumes": item.max_resumes,
        "secrets": item.secrets,
        "submission": _submission_record(item.submission),
    }
    return _text(fixed)[:-1] + ","


def changing_part(item: Item) -> str:
    """The rest of it: where the item is on its way."""
    changing = {
        "version": item.version,
        "state": item.state,
        "reason": item.reason,
        "stage": item.stage,
        "desired": item.desired,
        "started_at": item.started_at,
        "ended_at": item.ended_at,
        "due": item.due,
        "deadline": item.deadline,
        "joined_at": item.joined_at,
        "not_before": item.not_before,
        "refusals": item.refusals,
        "lease": _lease_record(item.lease),
        "priority": item.priority,
        "capped": item.capped,
        "mounts_code": item.mounts_code,
        "attempt": item.attempt,
        "resumes": item.resumes,
        "retried": item.retried,
        "missing_since": item.missing_since,
        "image": item.image,
        "source_hash": item.source_hash,
        "revision": item.revision,
        "entry_point": item.entry_point,
        "backend_id": item.backend_id,
        "exit_code": item.exit_code,
        "metrics": item.metrics,
        "warnings": item.warnings,
        "trouble": item.trouble,
        "timeline": item.timeline,
    }
    return _text(changing)[1:]


def item_from_json(text: str) -> Item:
    """Raises Permanent when the text is no item that this version can read."""
    return _parsed("item", text, _item)


def queue_to_json(queue: Queue) -> str:
    return _text(
        {
            "entity": queue.entity,
            "name": queue.name,
            "version": queue.version,
            "resource": queue.resource,
            "config": queue.config,
            "template_variables": {
                name: _variable_record(variable) for name, variable in queue.template_variables.items()
            },
            "overridable_fields": queue.overridable_fields,
            "max_jobs": queue.max_jobs,
            "prioritization": queue.prioritization,
            "builder": queue.builder,
            "timeouts": _timeouts_record(queue.timeouts),
            "retries": queue.retries,
            "max_resumes": queue.max_resumes,
            "paused": queue.paused,
            "draining": queue.draining,
            "secure_mode": queue.secure_mode,
            "secrets": queue.secrets,
        }
    )


def queue_from_json(text: str) -> Queue:
    """Raises Permanent when the text is no queue that this version can read."""
    return _parsed("queue", text, _queue)


def build_to_json(build: Build) -> str:
    return _text(
        {
            "image": build.image,
            "version": build.version,
            "builder": build.builder,
            "attempt": build.attempt,
            "build_id": build.build_id,
            "lease": _lease_record(build.lease),
        }
    )


def build_from_json(text: str) -> Build:
    """Raises Permanent when the text is no build that this version can read."""
    return _parsed("build", text, _build)


def key_to_json(key: ApiKey) -> str:
    return _text({"digest": key.digest, "entity": key.entity, "name": key.name, "created_at": key.created_at})


def key_from_json(text: str) -> ApiKey:
    """Raises Permanent when the text is no key that this version can read."""
    return _parsed("key", text, _key)


# A C encoder each time would be half of the cost of a small record.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _text(record: dict[str, Json]) -> str:
    try:
        text = _encode(record)
    except RecursionError as error:
        raise Permanent("A record is nested too deeply to be stored. Flatten its resource_args or config.") from error
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair, legal in JSON as an escape: no database takes it as it is.
            return _encode_ascii(record)
    return text


def _parsed(noun: str, text: str, build: Callable[[dict[str, Json]], Record]) -> Record:
    try:
        return build(json.loads(text))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        start = text if len(text) <= 80 else f"{text[:77]}..."
        raise Permanent(
            f"A stored {noun} cannot be read ({type(error).__name__}: {error}): {start} "
            f"It was written by a newer Slipway, or damaged: upgrade this one, or restore a backup."
        ) from error


def _variable_record(variable: TemplateVariable) -> dict[str, Json]:
    return {
        "type": variable.type,
        "default": variable.default,
        "enum": variable.enum,
        "minimum": variable.minimum,
        "maximum": variable.maximum,
        "description": variable.description,
        "items": None if variable.items is None else _variable_record(variable.items),
    }


def _lease_record(lease: Lease | None) -> dict[str, Json] | None:
    return None if lease is None else {"act": lease.act, "until": lease.until}


def _timeouts_record(timeouts: Timeouts) -> dict[str, float | None]:
    return {
        "pending": timeouts.pending,
        "build": timeouts.build,
        "start": timeouts.start,
        "run": timeouts.run,
        "stop": timeouts.stop,
    }


def _submission_record(submission: Submission) -> dict[str, Json]:
    job = submission.job
    return {
        "queue": submission.queue,
        "entity": submission.entity,
        "project": submission.project,
        "queue_entity": submission.queue_entity,
        "name": submission.name,
        "run_id": submission.run_id,
        "author": submission.author,
        "sweep_id": submission.sweep_id,
        "resource": submission.resource,
        "resource_args": submission.resource_args,
        "template_variables": submission.template_variables,
        "priority": submission.priority,
        "args": submission.args,
        "overrides_entry_point": submission.overrides_entry_point,
        "working_dir": submission.working_dir,
        "wandb_job": submission.wandb_job,
        "additional_services": submission.additional_services,
        "run_config": submission.run_config,
        "artifacts": submission.artifacts,
        "files": submission.files,
        "idempotency_key": submission.idempotency_key,
        "job": {
            "entry_point": job.entry_point,
            "dockerfile": job.dockerfile,
            "build_context": job.build_context,
            "python_version": job.python_version,
            "base_image": job.base_image,
            "user_id": job.user_id,
            "source": _source_record(job.source),
        },
    }


def _source_record(source: Source) -> dict[str, Json]:
    match source:
        case GitSource():
            return {"kind": "git", "uri": source.uri, "version": source.version}
        case ArchiveSource():
            return {"kind": "archive", "uri": source.uri, "sha256": source.sha256}
        case ImageSource():
            return {"kind": "image", "image": source.image}


# A dict answers in a third of the time of the enum's own call.
_STATES = {str(state): state for state in State}
_STAGES: dict[str | None, Stage | None] = {None: None, **{str(stage): stage for stage in Stage}}
_WISHES = {str(wish): wish for wish in Desired}
_ACTS = {str(act): act for act in Act}


def _item(record: dict[str, Json]) -> Item:
    get = record.get
    entry_point = get("entry_point")
    return Item(
        id=record["id"],
        submission=_submission(record["submission"]),
        resource=record["resource"],
        resource_args=record["resource_args"],
        run_id=record["run_id"],
        created_at=record["created_at"],
        builder=get("builder") or {},
        timeouts=_timeouts(get("timeouts")),
        priority=get("priority", DEFAULT_PRIORITY),
        capped=get("capped", True),
        mounts_code=get("mounts_code", False),
        secrets=get("secrets") or {},
        state=_STATES[get("state", "pending")],
        reason=get("reason", ""),
        stage=_STAGES[get("stage")],
        desired=_WISHES[get("desired", "run")],
        attempt=get("attempt", 1),
        resumes=get("resumes", 0),
        retries=get("retries") or {},
        max_resumes=get("max_resumes", MAX_RESUMES),
        retried=get("retried") or {},
        missing_since=get("missing_since"),
        joined_at=get("joined_at"),
        not_before=get("not_before", 0.0),
        refusals=get("refusals", 0),
        image=get("image"),
        source_hash=get("source_hash"),
        revision=get("revision"),
        entry_point=None if entry_point is None else tuple(entry_point),
        backend_id=get("backend_id"),
        exit_code=get("exit_code"),
        metrics=get("metrics") or {},
        warnings=tuple(get("warnings") or ()),
        trouble=get("trouble") or "",
        lease=_lease(get("lease")),
        due=get("due"),
        deadline=get("deadline"),
        started_at=get("started_at"),
        ended_at=get("ended_at"),
        retry_of=get("retry_of"),
        timeline=tuple([Moment(line[0], _STATES[line[1]], line[2]) for line in get("timeline") or ()]),
        version=get("version", 0),
    )


def _queue(record: dict[str, Json]) -> Queue:
    get = record.get
    return Queue(
        entity=record["entity"],
        name=record["name"],
        resource=record["resource"],
        config=get("config") or {},
        template_variables={name: _variable(value) for name, value in (get("template_variables") or {}).items()},
        overridable_fields=tuple(get("overridable_fields") or ()),
        max_jobs=get("max_jobs", 1),
        prioritization=get("prioritization", False),
        builder=get("builder") or {},
        timeouts=_timeouts(get("timeouts")),
        retries=get("retries") or {},
        max_resumes=get("max_resumes", MAX_RESUMES),
        paused=get("paused", False),
        draining=get("draining", False),
        secure_mode=get("secure_mode", False),
        secrets=get("secrets") or {},
        version=get("version", 0),
    )


def _variable(record: dict[str, Json]) -> TemplateVariable:
    get = record.get
    enum, items = get("enum"), get("items")
    return TemplateVariable(
        type=record["type"],
        default=get("default"),
        enum=None if enum is None else tuple(enum),
        minimum=get("minimum"),
        maximum=get("maximum"),
        description=get("description", ""),
        items=None if items is None else _variable(items),
    )


def _build(record: dict[str, Json]) -> Build:
    get = record.get
    return Build(
        image=record["image"],
        builder=record["builder"],
        attempt=get("attempt", 1),
        build_id=get("build_id"),
        lease=_lease(get("lease")),
        version=get("version", 0),
    )


def _key(record: dict[str, Json]) -> ApiKey:
    return ApiKey(record["digest"], record["entity"], record["name"], record["created_at"])


def _lease(record: dict[str, Json] | None) -> Lease | None:
    return None if record is None else Lease(_ACTS[record["act"]], record["until"])


_DEFAULT_TIMEOUTS = Timeouts()


def _timeouts(record: dict[str, Json] | None) -> Timeouts:
    if record is None:
        return _DEFAULT_TIMEOUTS
    get = record.get
    default = _DEFAULT_TIMEOUTS
    return Timeouts(
        get("pending", default.pending),
        get("build", default.build),
        get("start", default.start),
        get("run", default.run),
        get("stop", default.stop),
    )


def _submission(record: dict[str, Json]) -> Submission:
    get = record.get
    return Submission(
        job=_job(record["job"]),
        queue=record["queue"],
        entity=record["entity"],
        project=record["project"],
        queue_entity=get("queue_entity"),
        name=get("name"),
        run_id=get("run_id"),
        author=get("author"),
        sweep_id=get("sweep_id"),
        resource=get("resource"),
        resource_args=get("resource_args") or {},
        template_variables=get("template_variables") or {},
        priority=get("priority", DEFAULT_PRIORITY),
        args=tuple(get("args") or ()),
        overrides_entry_point=get("overrides_entry_point", True),
        working_dir=get("working_dir"),
        wandb_job=get("wandb_job"),
        additional_services=tuple(get("additional_services") or ()),
        run_config=get("run_config") or {},
        artifacts=get("artifacts") or {},
        files=get("files") or {},
        idempotency_key=get("idempotency_key"),
    )


def _job(record: dict[str, Json]) -> Job:
    get = record.get
    return Job(
        source=_source(record["source"]),
        entry_point=tuple(get("entry_point") or ()),
        dockerfile=get("dockerfile"),
        build_context=get("build_context"),
        python_version=get("python_version"),
        base_image=get("base_image"),
        user_id=get("user_id"),
    )


def _source(record: dict[str, Json]) -> Source:
    match record["kind"]:
        case "git":
            return GitSource(record["uri"], record.get("version"))
        case "archive":
            return ArchiveSource(record["uri"], record.get("sha256"))
        case "image":
            return ImageSource(record["image"])
    raise ValueError(f"unknown kind of source '{record['kind']}'")
