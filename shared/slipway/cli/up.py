"""`slipway up`: its options. What it then does is in `running`."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from slipway.cli.options import Data


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class Synchronous(StrEnum):
    NORMAL = "NORMAL"
    FULL = "FULL"


def up(
    data: Data = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes any free port.")] = 8765,
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Threads that step items.")] = 2,
    builders: Annotated[int, typer.Option(metavar="N", min=1, max=16, help="Threads that fetch sources.")] = 1,
    http: Annotated[
        bool, typer.Option("--http/--no-http", help="--no-http adds workers to a Slipway that is up.")
    ] = True,
    keyless: Annotated[
        bool | None,
        typer.Option(
            "--keyless/--require-key",
            help="Whether requests need no key. Default: none on loopback, always one elsewhere.",
            show_default=False,
        ),
    ] = None,
    local_paths: Annotated[
        bool,
        typer.Option("--allow-local-paths", help="Whether a job's source may be a path on this machine."),
    ] = False,
    private_addresses: Annotated[
        bool,
        typer.Option(
            "--allow-private-addresses",
            help="Whether a job's source may lie on this machine or a private network.",
        ),
    ] = False,
    insecure_git: Annotated[
        bool,
        typer.Option(
            "--allow-insecure-git",
            help="Whether git:// and http:// are good enough for sources.",
        ),
    ] = False,
    destination: Annotated[
        str | None,
        typer.Option(
            metavar="REPOSITORY",
            envvar="SLIPWAY_DESTINATION",
            help="Where built images are pushed. Default: they stay in Docker's own store.",
        ),
    ] = None,
    synchronous: Annotated[
        Synchronous,
        typer.Option(help="NORMAL survives a kill -9; FULL survives a power cut too.", case_sensitive=False),
    ] = Synchronous.NORMAL,
    tick: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=300, help="Seconds between looks at what is overdue.")
    ] = 5.0,
    log_format: Annotated[LogFormat, typer.Option(help="The log on standard error.")] = LogFormat.TEXT,
) -> None:
    """Run Slipway on this machine, until Ctrl-C.

    Ctrl-C finishes the steps in hand and leaves running jobs running: the next `slipway up` finds them again.

    Example: slipway up --port 8765 --workers 4
    """
    from slipway import wire
    from slipway.cli import client, journal
    from slipway.cli.running import Plan, is_loopback, run
    from slipway.cli.worker import VISIBILITY

    journal.configure(log_format is LogFormat.JSON)
    settings = wire.Settings(
        client.home_of(data),
        synchronous=synchronous,
        local_paths=local_paths,
        private_addresses=private_addresses,
        insecure_git=insecure_git,
        destination=destination,
        base_url=os.environ.get("WANDB_BASE_URL"),
        visibility=VISIBILITY,
    )
    keyless = is_loopback(host) if keyless is None else keyless
    run(Plan(host, port, http, workers, builders, tick, keyless), settings)
