"""The options that many commands share, and the rules for what is left out.

Entity: `-e`, else SLIPWAY_ENTITY, else this user's name. Project: `-p`, else SLIPWAY_PROJECT, else the name of the git
repository, else `uncategorized`, which is W&B's word for it.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.output import Format


class Session:
    """What of a command line is still wanted when the command itself has failed."""

    def __init__(self) -> None:
        self.output = Format.TABLE


def _remember(context: typer.Context, output: Format) -> Format:
    if isinstance(context.obj, Session):
        context.obj.output = output
    return output


Output = Annotated[
    Format,
    typer.Option("-o", "--output", callback=_remember, help="A table for people; json or yaml for programs."),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="A Slipway elsewhere (or SLIPWAY_ENDPOINT, with a key in SLIPWAY_API_KEY). "
        "Left out: the one of `slipway login`, else the one that is up on this machine, or its data folder.",
        rich_help_panel="Where",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data folder (or SLIPWAY_HOME; else ~/.local/share/slipway).",
        rich_help_panel="Where",
    ),
]
Entity = Annotated[
    str | None,
    typer.Option(
        "-e", "--entity", metavar="NAME", help="Team or person. Default: SLIPWAY_ENTITY, else your user name."
    ),
]
ItemName = Annotated[
    str, typer.Argument(metavar="ITEM", help="An item's id, enough of its first or last letters, or its run's name.")
]


def entity_or_default(entity: str | None) -> str:
    return entity or os.environ.get("SLIPWAY_ENTITY") or _user()


def project_or_default(uri: str | None) -> str:
    return os.environ.get("SLIPWAY_PROJECT") or (repository_name(uri) if uri else None) or "uncategorized"


def repository_name(uri: str) -> str | None:
    """`train` for `https://host/team/train.git`, `git@host:team/train`, `/home/me/train/`; None where it has none."""
    path = uri.split("#")[0].split("?")[0].rstrip("/")
    if path.endswith("/.git"):
        path = path.removesuffix("/.git")
    name = path.replace(":", "/").rpartition("/")[2].removesuffix(".git")
    return name or None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
