"""What commands print: a table for people, JSON or YAML for programs; errors always on standard error.

Rich is imported when something is drawn. It respects NO_COLOR, and draws neither colours nor spinners when standard
output is no terminal. Text that others wrote is never read as Rich's markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from slipway.model import Json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 400
"""Columns where there is no terminal to fit: nothing is cut off that a `grep` may look for."""

COLOURS = {
    "pending": "yellow",
    "building": "yellow",
    "starting": "cyan",
    "running": "cyan",
    "preempted": "yellow",
    "finished": "green",
    "failed": "red",
    "stopped": "magenta",
    "ok": "green",
    "warning": "yellow",
    "broken": "red",
}


class Format(StrEnum):
    """How a command prints its result (`-o`)."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def show(document: Json, output: Format, draw: Callable[[], RenderableType]) -> None:
    """The document as it is, or what `draw` makes of it for people."""
    if output is Format.TABLE:
        stdout().print(draw())
    else:
        print(dump(document, output))


def dump(document: Json, output: Format) -> str:
    if output is Format.YAML:
        import yaml

        text: str = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=120)
        return text.rstrip("\n")
    return json.dumps(document, indent=2, ensure_ascii=False)


def stdout() -> Console:
    return _console(error=False)


def stderr() -> Console:
    return _console(error=True)


def note(text: str) -> None:
    """A remark to the person at the terminal, out of the way of what a program reads."""
    from rich.text import Text

    stderr().print(Text(text), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, folding: Sequence[str] = ()) -> Table:
    """A table without lines. Columns in `folding` may wrap where the terminal is narrow; the others stay whole."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column, no_wrap=column not in folding, overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return drawn


def fields(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values below one another; pairs with an empty value are left out."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            drawn.add_row(name, value if isinstance(value, Text) else Text(value))
    return drawn


def state(word: str) -> Text:
    from rich.text import Text

    return Text(word, style=COLOURS.get(word, ""))


def brief(value: Json) -> str:
    """A value on one line: text as it is, numbers as short as they are exact, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def duration(seconds: float | None) -> str:
    """`8.2 s`, `3 min 5 s`, `2 h 10 min`, `4 d 1 h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, smaller, word in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {word}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def seconds_since(moment: str | None) -> float | None:
    """Seconds from an RFC 3339 time until now; None for None."""
    if moment is None:
        return None
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def local_time(moment: str) -> str:
    """An RFC 3339 time on this machine's clock: `2026-03-01 14:05:09`."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _console(error: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
