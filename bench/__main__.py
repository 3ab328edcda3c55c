"""Prints the table of `make bench`. Exits 1 when a figure misses its bound."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from bench import admission, aws_cold, aws_cost, counts, drain, kubernetes, latency, sagemaker
from bench.figure import Figure


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    figures: list[Figure] = []
    for title, measure in (
        ("counting", counts.figures),
        ("draining 2,000 items, over and over", drain.figures),
        ("letting items in, with a million in the store", admission.figures),
        ("submitting once a second", latency.figures),
        ("`slipway up`, and SageMaker on loopback", sagemaker.figures),
        ("launching Jobs on a genuine Kubernetes", kubernetes.figures),
        ("starting the functions of AWS cold, in Lambda's emulator", aws_cold.figures),
        ("counting what a launch on AWS asks for", aws_cost.figures),
    ):
        console.print(f"{title} …", style="dim")
        figures.extend(measure())
    table = Table("what", "measured", "bound", "")
    for figure in figures:
        table.add_row(figure.what, figure.measured, figure.bound, "[green]ok[/]" if figure.ok else "[red]missed[/]")
    console.print(table)
    for each in aws_cost.tables():
        console.print(_table(each))
    return 0 if all(figure.ok for figure in figures) else 1


def _table(given: aws_cost.Table) -> Table:
    table = Table(*given.header, title=given.title, title_justify="left")
    for row in given.rows:
        table.add_row(*(cell.replace("**", "") for cell in row))
    return table


if __name__ == "__main__":
    sys.exit(main())
