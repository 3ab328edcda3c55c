"""Commands about dead letters, messages that were given up on: `slipway dlq list | show | redrive | drop`."""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.options import Data, Endpoint, Output
from slipway.cli.output import Format

app = typer.Typer(no_args_is_help=True, help="List, read, deliver again and forget dead letters.")

Letter = Annotated[str, typer.Argument(metavar="ID", help="As `slipway dlq list` names it.")]
Letters = Annotated[list[str], typer.Argument(metavar="ID...", help="As `slipway dlq list` names them.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="At most so many.")] = 100,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """List dead letters, the latest first, each with its reason.

    Example: slipway dlq list -o json
    """
    from slipway.cli.client import connect
    from slipway.cli.output import local_time, note, show, table

    letters = connect(endpoint, data).get("/v1/dead-letters", limit=limit)["dead_letters"]
    show(
        letters,
        output,
        lambda: table(
            ("ID", "TOPIC", "ITEM", "TRIES", "SINCE", "REASON"),
            (
                (
                    each["id"],
                    each["topic"],
                    each["item"] or "",
                    str(each["received"]),
                    local_time(each["at"]),
                    each["reason"],
                )
                for each in letters
            ),
            folding=("REASON",),
        ),
    )
    if not letters and output is Format.TABLE:
        note("There is no dead letter.")


@app.command("show")
def show_(letter: Letter, output: Output = Format.TABLE, data: Data = None, endpoint: Endpoint = None) -> None:
    """Show a dead letter: why it was given up on, and the message itself.

    Example: slipway dlq show 7
    """
    from slipway.cli.client import connect, path
    from slipway.cli.output import brief, fields, local_time, show

    found = connect(endpoint, data).get(path("dead-letters", letter))
    show(
        found,
        output,
        lambda: fields(
            (
                ("id", found["id"]),
                ("topic", found["topic"]),
                ("item", found["item"] or ""),
                ("tries", str(found["received"])),
                ("since", local_time(found["at"])),
                ("reason", found["reason"]),
                ("message", brief(found["message"])),
            )
        ),
    )


@app.command()
def redrive(letters: Letters, data: Data = None, endpoint: Endpoint = None) -> None:
    """Deliver dead letters again, once their reason is mended.

    Example: slipway dlq redrive 7
    """
    from slipway.cli.client import connect, path

    client = connect(endpoint, data)
    for letter in letters:
        client.request("POST", path("dead-letters", letter, "redrive"))
        print(f"{letter} is on its way again")


@app.command()
def drop(letters: Letters, data: Data = None, endpoint: Endpoint = None) -> None:
    """Forget dead letters. An item needs none to go on; a submission is lost with its letter.

    Example: slipway dlq drop 7
    """
    from slipway.cli.client import connect, path

    client = connect(endpoint, data)
    for letter in letters:
        client.request("DELETE", path("dead-letters", letter))
        print(f"{letter} dropped")
