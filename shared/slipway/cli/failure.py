"""How a command ends when it does not succeed: the exit code, and one short line per problem on standard error.

0 ok   2 usage   3 refused: invalid, forbidden, not found, conflict   4 the run failed   5 backend
"""

from __future__ import annotations

import json
import sys

from slipway.cli.output import Format, stderr
from slipway.errors import AlreadyExists, Forbidden, Invalid, NoSlot, NotFound, Problem, SlipwayError, Stale
from slipway.model import Json

REFUSED = 3
RUN_FAILED = 4
BACKEND = 5

_KINDS: tuple[tuple[type[SlipwayError], str], ...] = (
    (Invalid, "invalid"),
    (Forbidden, "forbidden"),
    (NotFound, "not_found"),
    (AlreadyExists, "conflict"),
    (Stale, "conflict"),
    (NoSlot, "conflict"),
)
"""What the person can mend alone. The rest, a damaged database or an engine that is down, is the backend's."""


def exit_code(error: SlipwayError) -> int:
    return REFUSED if isinstance(error, tuple(kind for kind, _ in _KINDS)) else BACKEND


def unforeseen(error: Exception) -> SlipwayError:
    """What stands for an error that is a mistake in Slipway itself."""
    text = f"{type(error).__name__}: {error}"
    return SlipwayError(f"this should not have happened: {text}. SLIPWAY_DEBUG=1 shows where; please report it")


def report(error: SlipwayError, output: Format = Format.TABLE) -> None:
    """One line per problem: `field: rule (got value). fix`; with `-o json` or `yaml`, one JSON document on one line."""
    if output is not Format.TABLE:
        print(json.dumps(document(error), ensure_ascii=False), file=sys.stderr)
        return
    from rich.text import Text

    from slipway.views import shown

    lines = [str(shown(problem)) for problem in error.problems] if isinstance(error, Invalid) else [error.message]
    for line in lines:
        stderr().print(Text("error: ", style="bold red") + Text(line, style="red"), soft_wrap=True)


def document(error: SlipwayError) -> Json:
    """The same shape as the HTTP API's errors."""
    from slipway.views import shown

    problems = [shown(each) for each in error.problems] if isinstance(error, Invalid) else []
    return {
        "error": {
            "kind": next((word for kind, word in _KINDS if isinstance(error, kind)), "backend"),
            "message": "; ".join(map(str, problems)) or error.message,
            "problems": [problem_document(each) for each in problems],
        }
    }


def problem_document(problem: Problem) -> Json:
    return {"field": problem.field, "value": _plain(problem.value), "rule": problem.rule, "fix": problem.fix}


def _plain(value: object) -> Json:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
