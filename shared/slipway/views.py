"""Items, queues and errors as the JSON that people and programs see.

What is stored and what is shown differ in three ways: times are RFC 3339 in UTC, values that look like secrets are
masked (a submitter may have written one where a reference belongs), and numbers that JSON lacks become text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from slipway.errors import (
    AlreadyExists,
    Forbidden,
    Invalid,
    NoSlot,
    NotFound,
    Permanent,
    Problem,
    SlipwayError,
    Stale,
    Temporary,
)
from slipway.model import ApiKey, DeadLetter, Item, Json, Topic
from slipway.spec import submission_document

MASK = "********"
_LAST_DAY = 253402214400.0
_LONGEST_VALUE = 200
_BEGINNING = 500
SHOWN_KEY = 16
"""Characters of a key's digest that name it in listings: enough to tell keys apart, no use for signing in."""

_SECRET_ANYWHERE = frozenset(
    {"SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "APIKEY", "AUTHORIZATION"}
)
_SECRET_AT_THE_END = frozenset({"KEY", "TOKEN", "PASS", "PWD", "DSN"})
"""Elsewhere in a name they are words of the trade: `num_key_value_heads`, `token_count`."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_REFERENCES = frozenset({"NAME", "REF", "ID", "ARN", "PATH", "FILE", "DIR", "URI", "SELECTOR"})
"""A name that ends in one of these says where a secret lies, not what it is."""
_PLAIN = frozenset({"idempotency_key", "topologyKey"})
_ASSIGNMENT = re.compile(r"(-{0,2})([A-Za-z_][A-Za-z0-9_.-]*)=(.+)", re.DOTALL)
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def item_document(item: Item, now: float | None = None) -> dict[str, Json]:
    """Everything about an item that may be seen. `now` (seconds since the epoch) as in `item_summary`."""
    return {
        **item_summary(item, now),
        "author": item.submission.author,
        "sweep_id": item.submission.sweep_id,
        "queue_entity": item.queue.entity,
        "source_hash": item.source_hash,
        "revision": item.revision,
        "backend_id": item.backend_id,
        "warnings": list(item.warnings),
        "timeline": [
            {"at": timestamp(moment.at), "state": moment.state.value, "reason": _no_userinfo(moment.reason)}
            for moment in item.timeline
        ],
        "desired": item.desired.value,
        "resumes": item.resumes,
        "refusals": item.refusals,
        "not_before": timestamp(item.not_before or None),
        "due": timestamp(item.due),
        "deadline": timestamp(item.deadline),
        "lease": None if item.lease is None else {"act": item.lease.act.value, "until": timestamp(item.lease.until)},
        "version": item.version,
        "submission": masked(submission_document(item.submission)),
        "resource_args": masked(item.resource_args),
    }


def item_summary(item: Item, now: float | None = None) -> dict[str, Json]:
    """What a listing shows of an item. `duration_seconds` is from its start to its end, or to `now` while it runs."""
    until = item.ended_at if item.ended_at is not None else now
    ran = None if item.started_at is None or until is None else max(0.0, until - item.started_at)
    return {
        "id": item.id,
        "state": item.state.value,
        "reason": _no_userinfo(item.reason),
        "trouble": _no_userinfo(item.trouble),
        "stage": None if item.stage is None else item.stage.value,
        "entity": item.submission.entity,
        "project": item.submission.project,
        "queue": item.queue.name,
        "resource": item.resource,
        "name": item.submission.name,
        "run_id": item.run_id,
        "priority": item.priority,
        "attempt": item.attempt,
        "created_at": timestamp(item.created_at),
        "started_at": timestamp(item.started_at),
        "ended_at": timestamp(item.ended_at),
        "duration_seconds": None if ran is None else round(ran, 3),
        "image": item.image,
        "exit_code": item.exit_code,
        "metrics": _in_json(item.metrics),
        "retry_of": item.retry_of,
    }


def error_kind(error: SlipwayError) -> str:
    """The one word that says what kind of error it is, for programs."""
    for kind, word in _KINDS.items():
        if isinstance(error, kind):
            return word
    return "internal"


def error_document(error: SlipwayError) -> dict[str, Json]:
    """`{"error": {"kind", "message", "problems"}}`, with every problem that an Invalid carries."""
    problems = [shown(problem) for problem in error.problems] if isinstance(error, Invalid) else []
    return {
        "error": {
            "kind": error_kind(error),
            "message": _no_userinfo("; ".join(map(str, problems)) or error.message),
            "problems": [
                {"field": problem.field, "value": problem.value, "rule": problem.rule, "fix": problem.fix}
                for problem in problems
            ],
        }
    }


def key_document(key: ApiKey) -> dict[str, Json]:
    """A bearer key without the key: nothing shown here can be used to sign in."""
    return {
        "id": key.digest[:SHOWN_KEY],
        "entity": key.entity,
        "name": key.name,
        "created_at": timestamp(key.created_at),
    }


def letter_document(letter: DeadLetter) -> dict[str, Json]:
    """A dead letter. The item it was about, where it was; a submission's own text stays where it is."""
    return {
        "id": letter.id,
        "topic": letter.topic.value,
        "item": None if letter.topic is Topic.SUBMIT else letter.body,
        "reason": _no_userinfo(letter.reason),
        "received": letter.received,
        "at": timestamp(letter.at),
    }


def envelope_document(letter: DeadLetter) -> dict[str, Json]:
    """A dead letter with its message: an id, or a launch spec with what looks like a secret masked. One that is no
    JSON cannot be masked, so no more than its beginning is shown."""
    message: Json = letter.body
    if letter.topic is Topic.SUBMIT:
        try:
            message = masked(json.loads(letter.body))
        except ValueError:
            message = _no_userinfo(letter.body[:_BEGINNING])
    return {**letter_document(letter), "message": message}


def timestamp(seconds: float | None) -> str | None:
    """RFC 3339 in UTC with milliseconds: `2026-01-31T12:00:00.250Z`. What lies beyond the year 9999 is its last day."""
    if seconds is None:
        return None
    return (
        datetime.fromtimestamp(min(seconds, _LAST_DAY), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def masked(value: Json) -> Json:
    """The same value with what looks like a secret replaced by asterisks, at any depth.

    Looked at: values under a name such as `WANDB_API_KEY` or `dbPassword`; `{name, value}` pairs (Kubernetes' env);
    `NAME=value` and `--token value` in lists of strings; the user part of a URL over http. Names that end in
    a word like NAME or REF (`secretName`) refer to a secret and are left alone.
    """
    if isinstance(value, Mapping):
        return _masked_mapping(value)
    if isinstance(value, list | tuple):
        return _masked_list(value)
    return _in_json(_no_userinfo(value) if isinstance(value, str) else value)


def _masked_mapping(value: Mapping[str, Json]) -> dict[str, Json]:
    shown = {key: MASK if _secret(key) and _covers(inner) else masked(inner) for key, inner in value.items()}
    if isinstance(value.get("name"), str) and _secret(value["name"]) and _covers(value.get("value")):
        shown["value"] = MASK
    return shown


def _masked_list(values: list[Json] | tuple[Json, ...]) -> list[Json]:
    shown: list[Json] = []
    hide_next = False
    for value in values:
        if not isinstance(value, str):
            shown.append(masked(value))
            hide_next = False
            continue
        assignment = _ASSIGNMENT.fullmatch(value)
        if assignment is not None and _secret(assignment[2]):
            shown.append(f"{assignment[1]}{assignment[2]}={MASK}")
        else:
            shown.append(MASK if hide_next else _no_userinfo(value))
        option = _OPTION.fullmatch(value)
        hide_next = option is not None and _secret(option[1])
    return shown


def _secret(name: str) -> bool:
    words = [word.upper() for word in _WORD.findall(name) if not word.isdigit()]
    # A bare `key` is a selector or a label far more often than a secret, and PWD is a folder.
    if len(name) <= 3 or not words or name in _PLAIN or words[-1] in _REFERENCES:
        return False
    return words[-1] in _SECRET_AT_THE_END or not _SECRET_ANYWHERE.isdisjoint(words)


def _covers(value: Json) -> bool:
    """Whether there is something to hide: numbers too, for a PIN is one."""
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _no_userinfo(text: str) -> str:
    if "://" not in text:
        return text
    return _USERINFO.sub(lambda match: match[0] if match[0] == "git" else MASK, text)


def _in_json(value: Any) -> Json:
    """NaN and the infinities, which a job's metrics may hold and JSON does not, as text; anything foreign likewise."""
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, Mapping):
        return {str(key): _in_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def shown(problem: Problem) -> Problem:
    """A problem that can be told: no secret, and no document echoed back whole."""
    name = problem.field.rsplit(".", 1)[-1]
    value = masked({name: problem.value})[name]
    if isinstance(value, dict | list) and len(text := repr(value)) > _LONGEST_VALUE:
        value = f"{text[:_LONGEST_VALUE]}…"
    elif isinstance(value, str) and len(value) > _LONGEST_VALUE:
        value = f"{value[:_LONGEST_VALUE]}…"
    return replace(problem, value=value)


_KINDS: dict[type[SlipwayError], str] = {
    Forbidden: "forbidden",
    NotFound: "not_found",
    AlreadyExists: "conflict",
    Stale: "conflict",
    NoSlot: "conflict",
    Permanent: "invalid",
    Temporary: "temporary",
}
