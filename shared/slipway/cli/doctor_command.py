"""`slipway doctor`: what is wrong, and the cure of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.options import Data, Endpoint, Output
from slipway.cli.output import Format

if TYPE_CHECKING:
    from rich.table import Table

    from slipway.cli.finding import Finding


def doctor(
    free_slots: Annotated[
        bool, typer.Option("--free-slots", help="First give back the slots that are held by what is over.")
    ] = False,
    output: Output = Format.TABLE,
    data: Data = None,
    endpoint: Endpoint = None,
) -> None:
    """Examine this machine's Slipway, or with --endpoint another's; exit 5 when something is broken.

    Example: slipway doctor -o json
    """
    from slipway import wire
    from slipway.cli.client import home_of
    from slipway.cli.doctor import broken, examine, examine_endpoint
    from slipway.cli.failure import BACKEND
    from slipway.cli.output import note, show
    from slipway.cli.promises import free_stray_slots

    if endpoint and not data:
        findings = examine_endpoint(endpoint)
    else:
        home = home_of(data)
        if free_slots:
            for slot in free_stray_slots(wire.local(wire.Settings(home))):
                note(f"{slot} given back")
        findings = examine(home)
    documents = [
        {"check": each.check, "verdict": each.verdict.value, "text": each.text, "cure": each.cure} for each in findings
    ]
    show(documents, output, lambda: _drawn(findings))
    if broken(findings):
        raise typer.Exit(BACKEND)
    if output is Format.TABLE:
        note("Nothing is broken.")


def _drawn(findings: list[Finding]) -> Table:
    from slipway.cli.output import state, table

    return table(
        ("CHECK", "", "FOUND", "CURE"),
        ((each.check, state(each.verdict), each.text, each.cure) for each in findings),
        folding=("FOUND", "CURE"),
    )
