"""Reads the `metrics.json` that a run leaves in its output folder: written by a stranger, kept with the item."""

from __future__ import annotations

import json
import math
from pathlib import Path

from slipway.model import Json

LARGEST = 64 * 1024


def read_metrics(output: Path) -> tuple[dict[str, Json], tuple[str, ...]]:
    """(metrics, warnings). A file that is absent is no metrics; one that breaks a rule is no metrics and a warning.

    It is a regular file of at most 64 KiB with a JSON object. Numbers that JSON does not have become their names
    (`"NaN"`), so that whoever reads the item need not know Python's dialect.
    """
    path = output / "metrics.json"
    try:
        if not path.is_file():  # a named pipe would keep us waiting for ever
            return {}, ("metrics.json is not kept: it is not a regular file",) if path.exists() else ()
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        return {}, (f"metrics.json is not kept: it cannot be read: {error.strerror}",)
    if len(content) > LARGEST:
        return {}, (f"metrics.json is not kept: it is larger than {LARGEST // 1024} KiB",)
    try:
        found = json.loads(content, parse_constant=str, parse_float=_number)
    except (ValueError, RecursionError) as error:
        return {}, (f"metrics.json is not kept: it is not JSON: {error}",)
    if not isinstance(found, dict):
        return {}, (f"metrics.json is not kept: it holds a {type(found).__name__}, where an object belongs",)
    return found, ()


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text
