"""Items and queues as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slipway.cli.output import Format, brief, dump, duration, fields, local_time, seconds_since, state, table
from slipway.model import Json

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

REASON = 100
"""Characters of a reason in a listing: a failed build's holds 50 lines. `show` has all of it."""


def items(documents: Sequence[Json]) -> Table:
    return table(
        ("ITEM", "NAME", "QUEUE", "STATE", "AGE", "RAN", "REASON"),
        (
            (
                item["id"],
                item["name"] or item["run_id"],
                item["queue"],
                state(item["state"]),
                duration(seconds_since(item["created_at"])),
                duration(ran(item)),
                first_line(item["trouble"] or item["reason"]),
            )
            for item in documents
        ),
        folding=("NAME", "REASON"),
    )


def ran(item: Json) -> float | None:
    """Seconds; of a run that goes on, until now."""
    known: float | None = item["duration_seconds"]
    if known is None and item["started_at"] and not item["ended_at"]:
        return seconds_since(item["started_at"])
    return known


def item(document: Json) -> Group:
    """All of one item: where it stands, what it is made of, what it measured, and its timeline."""
    from rich.console import Group
    from rich.text import Text

    submission = document.get("submission", {})
    source = submission.get("uri") or submission.get("docker", {}).get("docker_image", "")
    exit_code = document["exit_code"]
    pairs = [
        ("item", document["id"]),
        ("name", document["name"] or ""),
        ("run", document["run_id"]),
        ("state", state(document["state"])),
        ("failed in", document["stage"] or ""),
        ("reason", document["reason"]),
        ("trouble", document["trouble"]),
        ("queue", f"{document['entity']}/{document['queue']} ({document['resource']})"),
        ("project", document["project"]),
        ("source", source),
        ("revision", document.get("revision") or ""),
        ("image", document["image"] or ""),
        ("attempt", str(document["attempt"]) if document["attempt"] > 1 else ""),
        ("retry of", document["retry_of"] or ""),
        ("ran", duration(ran(document))),
        ("exit code", "" if exit_code is None else str(exit_code)),
        *((f"metric {name}", brief(value)) for name, value in document["metrics"].items()),
        *(("warning", warning) for warning in document.get("warnings", ())),
        ("arguments", " ".join(submission.get("overrides", {}).get("args", ()))),
        ("variables", ", ".join(f"{k}={brief(v)}" for k, v in submission.get("template_variables", {}).items())),
        ("config", dump(document["resource_args"], Format.YAML) if document.get("resource_args") else ""),
    ]
    timeline = table(
        ("WHEN", "STATE", "REASON"),
        ((local_time(line["at"]), state(line["state"]), line["reason"]) for line in document.get("timeline", ())),
        folding=("REASON",),
    )
    return Group(fields(pairs), Text(), timeline)


def queues(documents: Sequence[Json]) -> Table:
    return table(
        ("QUEUE", "RESOURCE", "MAX JOBS", "ORDER", "STATE", "VARIABLES"),
        (
            (
                f"{queue['entity']}/{queue['name']}",
                queue["resource"],
                "no limit" if queue["max_jobs"] < 0 else str(queue["max_jobs"]),
                "priority" if queue["prioritization"] else "first in, first out",
                " and ".join(word for word in ("paused", "draining") if queue[word]) or "open",
                ", ".join(queue["template_variables"]),
            )
            for queue in documents
        ),
        folding=("VARIABLES",),
    )


def queue(document: Json) -> RenderableType:
    """The queue file that makes it, as YAML."""
    from rich.text import Text

    return Text(dump(document, Format.YAML))


def first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= REASON else f"{line[: REASON - 1]}…"
