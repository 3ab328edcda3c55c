"""Macros `${name}`: what is known only when an item leaves the queue. A closed table.

W&B's agent also offers its whole process environment, secrets included; here the environment is never looked at.
Where W&B leaves an unknown macro as it stands and writes "None" for a missing value, both are refused here.
`$${` stands for a literal `${`: a shell's `${HOME}` is written `$${HOME}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from slipway.documents import rewrite
from slipway.errors import Invalid, Problem, nearest
from slipway.model import Json

MACROS = {
    "project_name": "the run's project, in lower case",
    "entity_name": "the run's entity",
    "run_id": "the run's id",
    "run_name": "the run's name, else its id",
    "image_uri": "the image that runs",
    "author": "who submitted it; refused where the submission names no author",
    "item_id": "the queue item's id",
    "attempt": "1, and one more each time the run is started again",
    "queue_name": "the queue's name",
}
"""Name → meaning. The first six are W&B's, the others ours."""

_MACRO = re.compile(r"\$\$\{|\$\{[^{}]*\}?")


def check(value: Json, path: str = "") -> list[Problem]:
    """The problems that `expand` would have whatever the values: unknown macros, and a `${` that is not closed."""
    return _expanded(value, dict.fromkeys(MACROS, ""), path)[1]


def expand(value: Json, table: Mapping[str, str | None], path: str = "") -> Json:
    """The value with the macros in its strings, at any depth, replaced. Keys stay; what is put in is not read again.

    Raises Invalid with every macro that is unknown or whose value is None.
    """
    result, problems = _expanded(value, table, path)
    if problems:
        raise Invalid(problems)
    return result


def _expanded(value: Json, table: Mapping[str, str | None], path: str) -> tuple[Json, list[Problem]]:
    problems: list[Problem] = []

    def replaced(written: str, where: str) -> str:
        if written == "$${":
            return "${"
        name = written[2:-1]
        known = written.endswith("}") and name in table
        if known and (text := table[name]) is not None:
            return text
        if known:
            problems.append(Problem(where, f"the macro {written} has no value for this run"))
        else:
            hint = nearest(name.strip(), table) if written.endswith("}") else "It is not closed."
            problems.append(Problem(where, "is not a macro", written, f"{hint} A literal ${{ is written $${{."))
        return written

    def filled(text: str, where: str) -> str:
        return _MACRO.sub(lambda match: replaced(match[0], where), text) if "${" in text else text

    result = rewrite(value, filled, path)
    return result, problems
