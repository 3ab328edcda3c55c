"""`slipway submit`: a job goes on a queue, in `wandb launch`'s own flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.options import Data, Endpoint, Entity, Output, entity_or_default, project_or_default
from slipway.cli.output import Format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slipway.cli.client import Client
    from slipway.model import Json, Queue


def submit(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- ARGUMENT", help="The job's own arguments, after `--`.", show_default=False),
    ] = None,
    uri: Annotated[
        str | None, typer.Option("-u", "--uri", metavar="URI", help="A git repository, or a .tar.gz or .zip file.")
    ] = None,
    git_version: Annotated[
        str | None,
        typer.Option("-g", "--git-version", metavar="REF", help="Branch, tag or commit."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="Of the archive; required for one over https.")
    ] = None,
    docker_image: Annotated[
        str | None,
        typer.Option("-d", "--docker-image", metavar="IMAGE", help="An image, in place of a source."),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option("-q", "--queue", metavar="QUEUE", help="The queue, or ENTITY/QUEUE."),
    ] = None,
    entry_point: Annotated[
        str | None, typer.Option("-E", "--entry-point", metavar="COMMAND", help="What to run: 'python train.py'.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("-c", "--config", metavar="FILE|JSON", help="A launch spec; flags go over what it says."),
    ] = None,
    resource_args: Annotated[
        str | None,
        typer.Option("-R", "--resource-args", metavar="FILE|JSON", help="Fields of the queue's config that it opens."),
    ] = None,
    dockerfile: Annotated[
        str | None, typer.Option("-D", "--dockerfile", metavar="PATH", help="The source's own Dockerfile.")
    ] = None,
    build_context: Annotated[
        str | None, typer.Option("--build-context", metavar="PATH", help="The folder of the source to build from.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option("-P", "--priority", metavar="N", help="0 to 3, or critical, high, medium, low.")
    ] = None,
    set_var: Annotated[
        list[str] | None,
        typer.Option("--set-var", metavar="NAME=VALUE", help="A template variable of the queue. Repeatable."),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option("-a", "--arg", metavar="ARGUMENT", help="One argument of the job. Repeatable.")
    ] = None,
    entity: Entity = None,
    project: Annotated[
        str | None,
        typer.Option("-p", "--project", metavar="NAME", help="Default: SLIPWAY_PROJECT, else the repository's name."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The run's name.")] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="TEXT", help="The same text again gives the same item, not another."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; exit 4 when the run failed.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check it and show what would be stored. Nothing is stored.")
    ] = False,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Put a job on a queue. Prints the new item's id.

    Example: slipway submit -q train -u https://github.com/me/train -E 'python train.py' --set-var lr=0.1 -- --epochs 5
    """
    from slipway.cli.client import connect
    from slipway.cli.launch_spec import Flags, assignments, launch_spec, mapping
    from slipway.cli.output import dump, note
    from slipway.cli.wait import wait_for

    base = mapping(config, "--config") if config else {}
    given = Flags(
        uri=uri,
        git_version=git_version,
        sha256=sha256,
        docker_image=docker_image,
        queue=queue,
        entry_point=entry_point,
        dockerfile=dockerfile,
        build_context=build_context,
        priority=priority,
        entity=entity,
        project=project,
        name=name,
        args=[*(arg or ()), *(arguments or ())],
    )
    spec = launch_spec(base, mapping(resource_args, "--resource-args") if resource_args else None, given)
    spec.setdefault("entity", entity_or_default(None))
    spec.setdefault("project", project_or_default(spec.get("uri")))
    client = connect(endpoint, data)
    if set_var:
        give_variables(spec, assignments(set_var), queue_of(client, spec))
    if dry_run:
        from slipway.cli.plan import show_plan

        show_plan(client.request("POST", "/v1/plan", json=spec, params={"fetch": False}).json(), output)
        return
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    response = client.request("POST", "/v1/items", json=spec, headers=headers)
    item = response.json()
    if not wait:
        print(item["id"] if output is Format.TABLE else dump(item, output), flush=True)
    if response.status_code == 200:
        note(f"It was submitted before with the same idempotency key; it is {item['state']}.")
    if client.idle:
        note("Stored; nothing is running here: start `slipway up`.")
    elif not wait and output is Format.TABLE:
        note(f"On queue {item['queue']}. `slipway logs -f {item['id']}` follows it.")
    if wait:
        raise typer.Exit(wait_for(client, item["id"], output))


def give_variables(spec: dict[str, Json], values: Mapping[str, str], queue: Queue) -> None:
    """Puts the values of --set-var into the spec, each in its variable's type."""
    from slipway.cli.launch_spec import typed

    variables = spec.get("template_variables")
    known = variables if isinstance(variables, dict) else {}
    spec["template_variables"] = {**known, **typed(values, queue)}


def queue_of(client: Client, spec: dict[str, Json]) -> Queue:
    """The queue that the spec is for, as its file says it is. Raises Invalid where there is none."""
    from slipway.cli.client import path
    from slipway.errors import Invalid, NotFound, Problem
    from slipway.queues import parse_queue

    owner, name = spec.get("queue_entity") or spec["entity"], spec.get("queue")
    if not isinstance(name, str) or not isinstance(owner, str):
        raise Invalid(Problem("queue", "is missing", name, "Name the queue to submit to with -q."))
    try:
        document = client.get(path("queues", owner, name))
    except NotFound as error:
        raise Invalid(Problem("queue", error.message)) from error
    return parse_queue(document)
