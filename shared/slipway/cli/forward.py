"""`slipway forward`: the events of a cluster, for a deployment elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.up import LogFormat

if TYPE_CHECKING:
    from slipway.model import Changed

WAIT = 5.0
"""Seconds until it looks whether it shall stop, and tries again what could not be sent."""


def forward(
    queue_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="SLIPWAY_QUEUE_ADVANCE",
            help="The SQS queue of the deployment's function `advance`. Needs the right sqs:SendMessage, and no other.",
        ),
    ],
    namespaces: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            envvar="SLIPWAY_KUBERNETES_NAMESPACES",
            help="Where runs are. Default: in all namespaces that may be watched.",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(metavar="NAME", envvar="SLIPWAY_KUBERNETES_CONTEXT", help="Of the kubeconfig, outside of a pod."),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="The log on standard error.")] = LogFormat.TEXT,
) -> None:
    """Watch the runs of a Kubernetes cluster, and tell a deployment elsewhere what changed, until Ctrl-C.

    Runs inside the cluster, or wherever kubectl works. Without it a deployment hears of an end when it next looks.

    Example: slipway forward --queue-url https://sqs.eu-west-1.amazonaws.com/123456789012/slipway-advance
    """
    from slipway import wire
    from slipway.cli import journal
    from slipway.cli.output import note
    from slipway.cli.running import stop_signals
    from slipway.functions.forward import forward as send

    journal.configure(log_format is LogFormat.JSON)
    told = {"SLIPWAY_KUBERNETES_NAMESPACES": namespaces or "", "SLIPWAY_KUBERNETES_CONTEXT": context or ""}
    bus = wire.sqs_sender(queue_url)
    cluster = wire.cluster({**os.environ, **told})
    with stop_signals() as stopped:
        watcher = cluster.begun_watcher()
        note(f"Forwarding what changes in the cluster at {cluster.server} to {queue_url}. Ctrl-C stops it.")
        left: Sequence[Changed] = ()
        try:
            while not stopped.is_set():
                left = send((*left, *watcher.changes(WAIT)), bus)
        finally:
            watcher.close()
