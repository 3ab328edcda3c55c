"""Commands about bearer keys: `slipway key create | list | revoke`.

They pass over a local `slipway up` and work on the data folder itself: its owner needs no key to make the first one.
"""

from __future__ import annotations

from typing import Annotated

import typer

from slipway.cli.options import Data, Endpoint, Entity, Output, entity_or_default
from slipway.cli.output import Format

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as 'ci'.")],
    entity: Entity = None,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Make a key. It is shown once and stored as a hash.

    `--entity '*'` makes one that may act for every entity, and may make keys itself.

    Example: slipway key create ci --entity my-team
    """
    from slipway.cli.client import connect
    from slipway.cli.output import dump, note

    client = connect(endpoint, data, direct=True)
    body = {"name": name, "entity": entity_or_default(entity)}
    made = client.request("POST", "/v1/keys", json=body).json()
    if output is not Format.TABLE:
        print(dump(made, output))
        return
    print(made["key"])
    note(f"It may act for entity '{body['entity']}', and is shown only now: keep it. SLIPWAY_API_KEY is where it goes.")


@app.command("list")
def list_(output: Output = Format.TABLE, data: Data = None, endpoint: Endpoint = None) -> None:
    """List keys, without what would let anyone use them.

    Example: slipway key list
    """
    from slipway.cli.client import connect
    from slipway.cli.output import local_time, note, show, table

    keys = connect(endpoint, data, direct=True).get("/v1/keys")["keys"]
    show(
        keys,
        output,
        lambda: table(
            ("KEY", "NAME", "ENTITY", "MADE"),
            ((key["id"], key["name"], key["entity"], local_time(key["created_at"])) for key in keys),
        ),
    )
    if not keys and output is Format.TABLE:
        note("There is no key: `slipway key create NAME` makes one.")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `slipway key list` names it.")],
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Revoke a key: from now on it opens nothing.

    Example: slipway key revoke 3f1c2a9d0b7e4c55
    """
    from slipway.cli.client import connect, path

    connect(endpoint, data, direct=True).request("DELETE", path("keys", key))
    print(f"{key} revoked")
