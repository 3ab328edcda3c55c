"""Commands about queues: `slipway queue apply | list | show | delete | pause | drain | resume`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.options import Data, Endpoint, Entity, Output, entity_or_default
from slipway.cli.output import Format
from slipway.errors import Invalid, Problem
from slipway.model import Json

if TYPE_CHECKING:
    from slipway.cli.client import Client

CREATED, CHANGED, UNCHANGED = "created", "changed", "unchanged"
"""What an apply comes to."""

app = typer.Typer(no_args_is_help=True, help="Make, list and change queues.")

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="A queue's name, or ENTITY/NAME.")]


@app.command()
def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A queue file in YAML or JSON; - reads standard input.")],
    entity: Entity = None,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Create a queue, or change it to what the file says. What is on its way keeps what it was submitted with.

    Example: slipway queue apply queue.yaml
    """
    from slipway.cli.client import connect
    from slipway.cli.launch_spec import parse, read
    from slipway.cli.output import dump
    from slipway.documents import check_json

    where = "standard input" if file == "-" else file
    document = parse(sys.stdin.read() if file == "-" else read(Path(file), "FILE"), where)
    check_json(document)
    if not isinstance(document, dict):
        raise Invalid(Problem(where, "is no queue file: that is a mapping of fields to values", document))
    owner = entity or document.get("entity") or entity_or_default(None)
    queue, came_to = put(connect(endpoint, data), document, owner)
    if output is not Format.TABLE:
        print(dump(queue, output))
        return
    print(f"{queue['entity']}/{queue['name']} {'created' if came_to == CREATED else 'applied'}")
    tell_held(queue)


def put(client: Client, document: Mapping[str, Json], owner: object) -> tuple[Json, str]:
    """Applies a queue file: the queue as it now is, and what that came to."""
    from slipway.cli.client import path

    address = path("queues", _segment("entity", owner), _segment("name", document.get("name")))
    response = client.request("PUT", address, json={**document, "entity": owner})
    if response.status_code == 201:
        return response.json(), CREATED
    return response.json(), UNCHANGED if response.headers.get("Slipway-Changed") == "false" else CHANGED


def tell_held(queue: Json) -> None:
    """A pause and a drain outlive an apply, so whoever applies is told of them."""
    from slipway.cli.output import note

    for word, held in (("paused", queue["paused"]), ("drained", queue["draining"])):
        if held:
            note(f"It is {word}: `slipway queue resume {queue['entity']}/{queue['name']}` lets it go on.")


@app.command("list")
def list_(
    entity: Annotated[
        str | None, typer.Option("-e", "--entity", metavar="NAME", help="Of this team or person only.")
    ] = None,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """List queues.

    Example: slipway queue list
    """
    from slipway.cli import draw
    from slipway.cli.client import connect
    from slipway.cli.output import note, show

    queues = connect(endpoint, data).get("/v1/queues", entity=entity)["queues"]
    show(queues, output, lambda: draw.queues(queues))
    if not queues and output is Format.TABLE:
        note("There is no queue yet: `slipway queue apply FILE` makes one.")


@app.command()
def show(
    queue: Name, entity: Entity = None, output: Output = Format.TABLE, data: Data = None, endpoint: Endpoint = None
) -> None:
    """Show a queue as the file that makes it.

    Example: slipway queue show train
    """
    from slipway.cli import draw
    from slipway.cli.client import connect
    from slipway.cli.output import show as print_

    document = connect(endpoint, data).get(_path(queue, entity))
    print_(document, output, lambda: draw.queue(document))


@app.command()
def delete(queue: Name, entity: Entity = None, data: Data = None, endpoint: Endpoint = None) -> None:
    """Delete a queue. Refused while it has items that are not over.

    Example: slipway queue delete train
    """
    from slipway.cli.client import connect

    connect(endpoint, data).request("DELETE", _path(queue, entity))
    print(f"{queue} deleted")


@app.command()
def pause(queue: Name, entity: Entity = None, data: Data = None, endpoint: Endpoint = None) -> None:
    """Let nothing more start from a queue. What runs goes on, and submissions are taken.

    Example: slipway queue pause train
    """
    from slipway.cli.client import connect

    connect(endpoint, data).post(_path(queue, entity, "pause"))
    print(f"{queue} paused")


@app.command()
def drain(queue: Name, entity: Entity = None, data: Data = None, endpoint: Endpoint = None) -> None:
    """Take no more submissions to a queue. What is in line, is built or runs goes on to its end.

    Example: slipway queue drain train
    """
    from slipway.cli.client import connect
    from slipway.cli.items import LIVE
    from slipway.cli.output import note

    client = connect(endpoint, data)
    drained = client.post(_path(queue, entity, "drain"))
    print(f"{queue} drains")
    left = client.get("/v1/items", entity=drained["entity"], queue=drained["name"], state=list(LIVE))["items"]
    if left:
        known = (
            "1 item goes" if len(left) == 1 else f"{len(left)} items go" if len(left) < 100 else "100 items or more go"
        )
        note(f"{known} on to the end: `slipway ps -q {drained['name']} -w` watches.")


@app.command()
def resume(queue: Name, entity: Entity = None, data: Data = None, endpoint: Endpoint = None) -> None:
    """Let a queue that was paused or drained go on.

    Example: slipway queue resume train
    """
    from slipway.cli.client import connect

    connect(endpoint, data).post(_path(queue, entity, "resume"))
    print(f"{queue} resumed")


def _segment(field: str, value: object) -> str:
    """What can stand in the queue's address; the API checks the rest."""
    if not isinstance(value, str) or not value or "/" in value:
        raise Invalid(Problem(field, "must be text, without '/'", value, f"Give the queue a {field}."))
    return value


def _path(queue: str, entity: str | None, *more: str) -> str:
    from slipway.cli.client import path

    owner, slash, name = queue.rpartition("/")
    return path("queues", owner if slash else entity_or_default(entity), name, *more)
