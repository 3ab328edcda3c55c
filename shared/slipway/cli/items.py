"""Commands about items: ps, show, explain, logs, cancel, retry, priority."""

from __future__ import annotations

import json
import sys
import threading
from enum import StrEnum
from typing import Annotated

import typer

from slipway.cli.options import Data, Endpoint, ItemName, Output
from slipway.cli.output import Format
from slipway.model import State

LIVE = tuple(state.value for state in State if not state.terminal and state is not State.PREEMPTED)
REFRESH = 1.0
"""Seconds between two looks of `ps --watch`."""


class LogSource(StrEnum):
    RUN = "run"
    BUILD = "build"


def ps(
    everything: Annotated[bool, typer.Option("-a", "--all", help="Those that are over, too.")] = False,
    queue: Annotated[str | None, typer.Option("-q", "--queue", metavar="NAME", help="Of this queue only.")] = None,
    state: Annotated[list[State] | None, typer.Option("-s", "--state", help="In this state only. Repeatable.")] = None,
    entity: Annotated[
        str | None, typer.Option("-e", "--entity", metavar="NAME", help="Of this team or person only.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=10000, help="At most so many.")] = 50,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Keep it up to date until Ctrl-C.")] = False,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """List items, newest first: the live ones, or with --all all of them.

    Example: slipway ps --all --queue train --state failed
    """
    from slipway.cli import draw
    from slipway.cli.client import connect
    from slipway.cli.find import listed
    from slipway.cli.output import note, show, stdout

    client = connect(endpoint, data)
    states = [each.value for each in state] if state else None if everything else list(LIVE)

    def look() -> list[dict[str, object]]:
        return list(listed(client, limit, queue=queue, state=states, entity=entity))

    if watch:
        if output is not Format.TABLE or not sys.stdout.isatty():
            raise typer.BadParameter("--watch draws on a terminal, as a table", param_hint="--watch")
        from rich.live import Live

        with Live(draw.items(look()), console=stdout(), auto_refresh=False, screen=True) as live:
            pause = threading.Event()
            while not pause.wait(REFRESH):
                live.update(draw.items(look()), refresh=True)
    found = look()
    show(found, output, lambda: draw.items(found))
    if not found and output is Format.TABLE:
        note(
            "No item is on its way. `slipway ps --all` lists those that are over." if states == list(LIVE) else "None."
        )


def show_item(item: ItemName, output: Output = Format.TABLE, data: Data = None, endpoint: Endpoint = None) -> None:
    """Show all about one item: state, image, metrics, configuration, timeline.

    Example: slipway show 0dh2v6kq
    """
    from slipway.cli import draw
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import show

    client = connect(endpoint, data)
    document = client.get(path("items", find(client, item)))
    show(document, output, lambda: draw.item(document))


def explain(item: ItemName, output: Output = Format.TABLE, data: Data = None, endpoint: Endpoint = None) -> None:
    """Say in one sentence why an item is where it is, and what would change that.

    Example: slipway explain 0dh2v6kq
    """
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import dump

    client = connect(endpoint, data)
    told = client.get(path("items", find(client, item), "explain"))
    print(told["sentence"] if output is Format.TABLE else dump(told, output))


def logs(
    item: ItemName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run is over.")] = False,
    source: Annotated[LogSource, typer.Option(help="The run's own log, or that of its image's build.")] = LogSource.RUN,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Print what a run wrote.

    Example: slipway logs -f 0dh2v6kq
    """
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import note

    client = connect(endpoint, data)
    item_id = find(client, item)
    if follow and client.idle:
        note(NOBODY)
    try:
        for event in client.events(path("items", item_id, "logs"), follow=follow, source=source.value):
            if event.kind == "message":
                print(event.data, flush=follow)
            elif event.kind == "state" and not client.idle:
                note(json.loads(event.data)["sentence"])
    except KeyboardInterrupt:
        note(f"\nIt goes on without you: `slipway logs -f {item_id}` comes back, `slipway cancel {item_id}` ends it.")


def cancel(
    context: typer.Context,
    items: Annotated[list[str], typer.Argument(metavar="ITEM…", help="Ids, parts of ids, or run names.")],
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Stop items, wherever they are on their way.

    Example: slipway cancel 0dh2v6kq my-run
    """
    from slipway.cli import failure
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import show, table
    from slipway.cli.output import state as coloured
    from slipway.errors import SlipwayError

    client = connect(endpoint, data)
    cancelled = []
    worst = 0
    for each in dict.fromkeys(items):
        try:
            cancelled.append(client.post(path("items", find(client, each), "cancel")))
        except SlipwayError as error:
            failure.report(error, output)
            worst = max(worst, failure.exit_code(error))
    if cancelled or output is not Format.TABLE:
        show(
            cancelled,
            output,
            lambda: table(
                ("ITEM", "STATE", "REASON"),
                ((item["id"], coloured(item["state"]), _stopping(item)) for item in cancelled),
            ),
        )
    if worst:
        raise typer.Exit(worst)


def retry(item: ItemName, output: Output = Format.TABLE, data: Data = None, endpoint: Endpoint = None) -> None:
    """Submit again what an item that is over was submitted as. Prints the new item's id.

    Example: slipway retry 0dh2v6kq
    """
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import dump, note

    client = connect(endpoint, data)
    document = client.post(path("items", find(client, item), "retry"))
    print(document["id"] if output is Format.TABLE else dump(document, output))
    if client.idle:
        note(NOBODY)


def priority(
    item: ItemName,
    level: Annotated[str, typer.Argument(metavar="N", help="0 (first) to 3 (last), or critical, high, medium, low.")],
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Change the priority of an item that waits, in a queue with prioritization.

    Example: slipway priority 0dh2v6kq 0
    """
    from slipway.cli.client import connect, path
    from slipway.cli.find import find
    from slipway.cli.output import dump
    from slipway.spec import PRIORITIES

    number = PRIORITIES.get(level.lower(), int(level) if level.isdecimal() else None)
    if number is None:
        raise typer.BadParameter(f"{level!r} is neither a number nor one of {', '.join(PRIORITIES)}", param_hint="N")
    client = connect(endpoint, data)
    answer = client.request("PATCH", path("items", find(client, item)), json={"priority": number}).json()
    if output is not Format.TABLE:
        print(dump(answer, output))
        return
    print(f"{answer['id']} has priority {answer['priority']}")


NOBODY = "Nothing is running here: it waits until `slipway up` is started."


def _stopping(item: dict[str, str]) -> str:
    return item["reason"] if State(item["state"]).terminal else "is being stopped"
