"""`slipway plan`: what would happen to a submission, without doing it. With a queue file it needs no server at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.cli.options import Data, Endpoint, Entity, Output, entity_or_default, project_or_default
from slipway.cli.output import Format

if TYPE_CHECKING:
    from rich.console import RenderableType

    from slipway.model import Json, Queue


def plan(
    spec: Annotated[str, typer.Option("-c", "--spec", metavar="FILE|JSON", help="The launch spec to plan.")],
    queue_config: Annotated[
        str | None,
        typer.Option(
            "--queue-config",
            metavar="FILE",
            help="A queue file, or a W&B queue config with its --resource. No server and no account is asked then.",
        ),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("-q", "--queue", metavar="QUEUE", help="The queue, or ENTITY/QUEUE.")
    ] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", metavar="RESOURCE", help="Of a --queue-config that names none.")
    ] = None,
    resource_args: Annotated[
        str | None,
        typer.Option("-R", "--resource-args", metavar="FILE|JSON", help="Fields of the queue's config that it opens."),
    ] = None,
    set_var: Annotated[
        list[str] | None,
        typer.Option("--set-var", metavar="NAME=VALUE", help="A template variable of the queue. Repeatable."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch/--no-fetch", help="Fetch the source, so that its image is known.")
    ] = True,
    entity: Entity = None,
    output: Output = Format.JSON,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Show what a submission would become: the backend's payload, its image, its place in line. Nothing is done.

    Example: slipway plan --queue-config queue.yaml --spec launch.yaml
    """
    from slipway.cli.launch_spec import Flags, launch_spec, mapping

    given = Flags(queue=queue, entity=entity)
    document = launch_spec(
        mapping(spec, "--spec"), mapping(resource_args, "--resource-args") if resource_args else None, given
    )
    document.setdefault("entity", entity_or_default(None))
    document.setdefault("project", project_or_default(document.get("uri")))
    values = list(set_var or ())
    if queue_config is not None:
        show_plan(_offline(document, _queue_file(queue_config, resource, document), values, fetch=fetch), output)
        return
    show_plan(_asked(document, values, fetch=fetch, data=data, endpoint=endpoint), output)


def show_plan(plan: Json, output: Format) -> None:
    from slipway.cli.output import note, show

    show(plan, output, lambda: _drawn(plan))
    if output is Format.TABLE:
        for warning in plan["warnings"]:
            note(f"note: {warning}")
        note("Nothing was stored, built or started.")


def _queue_file(file: str, resource: str | None, spec: dict[str, Json]) -> Queue:
    """A queue file as it is; of a W&B queue config, which has no name, the submission's queue and entity."""
    from slipway.cli.launch_spec import mapping
    from slipway.queues import is_queue_file, parse_queue

    document = mapping(file, "--queue-config")
    if not is_queue_file(document):
        document = {"resource_args": document}
    document = {"name": spec.get("queue") or "plan", **document}
    if resource is not None:
        document["resource"] = resource
    return parse_queue(document, entity=str(spec.get("queue_entity") or spec["entity"]))


def _offline(spec: dict[str, Json], queue: Queue, values: list[str], *, fetch: bool) -> Json:
    from slipway import wire
    from slipway.cli.launch_spec import assignments
    from slipway.cli.submit import give_variables
    from slipway.functions.plan import plan as planned

    document = {**spec, "queue": queue.name, "queue_entity": queue.entity}
    if values:
        give_variables(document, assignments(values), queue)
    return planned(document, wire.planning(queue), fetch=fetch, registry=False)


def _asked(spec: dict[str, Json], values: list[str], *, fetch: bool, data: Path | None, endpoint: str | None) -> Json:
    from slipway.cli.client import connect
    from slipway.cli.launch_spec import assignments
    from slipway.cli.submit import give_variables, queue_of

    client = connect(endpoint, data)
    if values:
        give_variables(spec, assignments(values), queue_of(client, spec))
    answer: Any = client.request("POST", "/v1/plan", json=spec, params={"fetch": fetch}).json()
    return answer


def _drawn(plan: Json) -> RenderableType:
    from slipway.cli.output import Format, dump, fields

    image, line = plan["image"], plan["line"]
    build = {True: "must be built", False: "is not built", None: "is not known yet"}[image["build"]]
    slots = "no limit" if line["slots"] is None else f"{line['slots_in_use']} of {line['slots']} slots in use"
    return fields(
        [
            ("queue", f"{plan['queue']['entity']}/{plan['queue']['name']} ({plan['queue']['resource']})"),
            ("image", f"{image['reference'] or ''} {build}: {image['why']}".strip()),
            ("line", f"{line['ahead']} ahead, {slots}{', paused' if line['paused'] else ''}"),
            ("call", plan["payload"]["call"]),
            ("payload", dump(plan["payload"]["body"], Format.YAML)),
            ("beside", dump(plan["payload"]["beside"], Format.YAML) if plan["payload"]["beside"] else ""),
            (
                "set by",
                "\n".join(f"{each['field']}  {each['set_by']}: {each['reason']}" for each in plan["guardrails"]),
            ),
        ]
    )
