"""The command of a sweep's run, from the parameters that its search chose, in W&B's own macros.

A sweep's `command` is a list of words in which one macro stands for the parameters: `${args}` for `--lr=0.1`,
`${args_no_hyphens}` for `lr=0.1`, and so on. W&B's sweep agent has the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from slipway.model import Json


def arguments(parameters: Mapping[str, Json]) -> dict[str, list[str]]:
    """Macro → the words that it stands for. Values are written as Python prints them, which W&B's users count on."""
    pairs = [f"{name}={value}" for name, value in parameters.items()]
    return {
        "args": [f"--{pair}" for pair in pairs],
        "args_no_equals": [word for name, value in parameters.items() for word in (f"--{name}", str(value))],
        "args_no_hyphens": pairs,
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in parameters.items()
            if value is not False
        ],
        "args_json": [json.dumps(dict(parameters))],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
    }


def command(words: Sequence[str], parameters: Mapping[str, Json]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The entry point, and the arguments: what the last macro among the words stands for. The others go, as in W&B."""
    entry_point, found = list(words), list[str]()
    for macro, values in arguments(parameters).items():
        word = f"${{{macro}}}"
        if word in entry_point:
            entry_point.remove(word)
            found = values
    return tuple(entry_point), tuple(found)
